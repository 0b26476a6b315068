// SPDX-License-Identifier: Apache-2.0

import { useEffect, useState, useSyncExternalStore } from "react";

/** One clock for the page: components that show ages share its tick. */
const tickers = new Map<number, { listeners: Set<() => void>; now: number; timer: number }>();

function ticker(interval: number) {
  let found = tickers.get(interval);
  if (!found) {
    found = { listeners: new Set(), now: Date.now(), timer: 0 };
    tickers.set(interval, found);
  }
  return found;
}

/** The time, renewed every `interval` ms. */
export function useNow(interval = 1000): number {
  const shared = ticker(interval);
  return useSyncExternalStore(
    (listener) => {
      shared.listeners.add(listener);
      if (shared.listeners.size === 1) {
        shared.timer = window.setInterval(() => {
          shared.now = Date.now();
          shared.listeners.forEach((each) => each());
        }, interval);
      }
      return () => {
        shared.listeners.delete(listener);
        if (shared.listeners.size === 0) window.clearInterval(shared.timer);
      };
    },
    () => {
      // A clock that nobody listened to has stood still; one that runs is changed by its tick only.
      if (shared.listeners.size === 0 && Date.now() - shared.now > interval) shared.now = Date.now();
      return shared.now;
    },
  );
}

/** `value`, once it has stayed the same for `delay` ms. */
export function useSettled<V>(value: V, delay: number): V {
  const [settled, set] = useState(value);
  useEffect(() => {
    const timer = window.setTimeout(() => set(value), delay);
    return () => window.clearTimeout(timer);
  }, [value, delay]);
  return settled;
}

/** The document's title while a component is there. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title ? `${title} · Towline` : "Towline";
  }, [title]);
}
