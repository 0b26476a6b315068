// SPDX-License-Identifier: Apache-2.0
// What the open page adds to the palette.

import { useEffect, useSyncExternalStore } from "react";

export interface PaletteItem {
  id: string;
  group: "devices" | "commands" | "pages" | "actions";
  label: string;
  hint?: string;
  run: () => void;
}

let items: PaletteItem[] = [];
const listeners = new Set<() => void>();

function set(next: PaletteItem[]): void {
  items = next;
  listeners.forEach((listener) => listener());
}

/** Offer `next` in the palette while the calling component is there. */
export function usePaletteItems(next: PaletteItem[]): void {
  useEffect(() => {
    set(next);
    return () => set([]);
  }, [next]);
}

export const useOfferedItems = (): PaletteItem[] =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => items,
  );
