// SPDX-License-Identifier: Apache-2.0
// What outlives the page that made it, but not the user it belongs to.

import { useSyncExternalStore } from "react";

const all = new Set<{ forget(): void }>();
let owner: string | null = null;

/** A value outside of React, so that what ends after its page was left still finds it. */
export class Kept<V> {
  private value: V;
  private readonly listeners = new Set<() => void>();

  /** `dropped` is told the value that another user may not see any more. */
  constructor(
    private readonly empty: V,
    private readonly dropped: (value: V) => void = () => undefined,
  ) {
    this.value = empty;
    all.add(this);
  }

  readonly get = (): V => this.value;

  readonly set = (next: V): void => {
    this.value = next;
    this.listeners.forEach((listener) => listener());
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  forget(): void {
    const before = this.value;
    this.set(this.empty);
    this.dropped(before);
  }
}

export const useKept = <V>(kept: Kept<V>): V => useSyncExternalStore(kept.subscribe, kept.get);

/** From now on everything kept is this user's, or nobody's; whether that is a change. */
export function belongTo(user: string | null): boolean {
  if (user === owner) return false;
  owner = user;
  all.forEach((kept) => kept.forget());
  return true;
}
