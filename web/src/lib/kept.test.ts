// SPDX-License-Identifier: Apache-2.0

import { describe, expect, it } from "vitest";
import { belongTo, Kept } from "./kept";

describe("what is kept", () => {
  it("is forgotten when somebody else, or nobody, is signed in", () => {
    const dropped: string[][] = [];
    const kept = new Kept<string[]>([], (value) => dropped.push(value));
    belongTo("ann");
    kept.set(["hers"]);
    expect(belongTo("ann")).toBe(false);
    expect(kept.get()).toEqual(["hers"]);
    expect(belongTo(null)).toBe(true);
    expect(kept.get()).toEqual([]);
    expect(dropped.at(-1)).toEqual(["hers"]);
    kept.set(["nobody's"]);
    belongTo("ben");
    expect(kept.get()).toEqual([]);
  });
});
