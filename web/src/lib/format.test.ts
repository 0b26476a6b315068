// SPDX-License-Identifier: Apache-2.0

import { describe, expect, it } from "vitest";
import { hostOf, number, scaleFor, temperature, withUnit } from "./format";
import { absolute, ago, clock, day, left, ms, span, stamp, took } from "./time";

describe("numbers", () => {
  it("have the decimals that are worth reading", () => {
    expect([0.1234, 12.345, 123.4, 12345].map(number)).toEqual(["0.12", "12.3", "123", "12,345"]);
  });

  it("scale bytes and leave other units alone", () => {
    expect(withUnit(1536, "B")).toBe("1.5\u00a0KiB");
    expect(withUnit(2048, "kB/s")).toBe("2\u00a0MiB/s");
    expect(scaleFor("%", 5000)).toEqual({ unit: "%", divisor: 1 });
  });

  it("turn Kelvin into the viewer's unit", () => {
    expect(temperature(298.15, "C")).toBeCloseTo(25);
    expect(temperature(298.15, "F")).toBeCloseTo(77);
  });

  it("take the port off an address", () => {
    expect(["10.0.0.7:5197", "[fe80::1]:80", "fe80::1", "10.0.0.7", ""].map(hostOf)).toEqual(["10.0.0.7", "fe80::1", "fe80::1", "10.0.0.7", ""]);
  });
});

describe("times", () => {
  it("are spans in words", () => {
    expect([500, 59_000, 61_000, 3_600_000, 11_520_000, 40 * 3_600_000, 200 * 3_600_000].map(span)).toEqual([
      "0 s", "59 s", "1 min", "1 h", "3 h 12 min", "40 h", "8 days",
    ]);
    expect([12, 1500, 90_000].map(took)).toEqual(["12 ms", "1.5 s", "1 min"]);
    expect(ago(ms("2026-11-21T10:00:00.000Z"), ms("2026-11-21T10:00:03.000Z"))).toBe("just now");
  });

  it("are a dash when they are not known", () => {
    expect(ago(ms(null), 0)).toBe("—");
    expect([span, left, took, clock, day, stamp, absolute].map((format) => format(ms(null)))).toEqual(Array(7).fill("—"));
    expect(stamp(ms("no time"))).toBe("—");
  });
});
