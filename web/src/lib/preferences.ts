// SPDX-License-Identifier: Apache-2.0
// What this browser remembers for its viewer.

import { useState, useSyncExternalStore } from "react";
import type { TemperatureUnit } from "./format";

const listeners = new Set<() => void>();

function read(key: string, fallback: string): string {
  try {
    return localStorage.getItem(key) ?? fallback;
  } catch {
    return fallback;
  }
}

function write(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // A browser that stores nothing still works, it only forgets.
  }
  listeners.forEach((listener) => listener());
}

function usePreference<V extends string>(key: string, fallback: V): [V, (value: V) => void] {
  const value = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => read(key, fallback) as V,
  );
  return [value, (next) => write(key, next)];
}

export const useTemperatureUnit = () => usePreference<TemperatureUnit>("towline-temperature", "C");

export type Range = "5m" | "15m" | "1h" | "6h" | "24h";
export const RANGES: Record<Range, number> = {
  "5m": 5 * 60_000,
  "15m": 15 * 60_000,
  "1h": 3_600_000,
  "6h": 6 * 3_600_000,
  "24h": 24 * 3_600_000,
};

/** The window of the charts. Until one is chosen, a device that is only minutes old gets a short one. */
export function useRange(deviceCreated: number): [Range, (value: Range) => void] {
  const [chosen, set] = usePreference<Range | "">("towline-range", "");
  const [usual] = useState<Range>(() => (Date.now() - deviceCreated < 10 * 60_000 ? "5m" : "15m"));
  return [chosen && chosen in RANGES ? chosen : usual, set];
}
