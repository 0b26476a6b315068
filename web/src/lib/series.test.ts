// SPDX-License-Identifier: Apache-2.0

import { describe, expect, it } from "vitest";
import { align, emptyPoints, gapOf, merge, trim, valueAt } from "./series";
import { seriesKey, SeriesStore } from "./store";

const line = (from: number, count: number, step: number) =>
  Array.from({ length: count }, (_, n): [number, number] => [from + n * step, n]);

describe("points", () => {
  it("stay in order, whatever order they come in, and once", () => {
    const points = emptyPoints();
    merge(points, [[30, 3], [10, 1], [20, 2], [20, 5], [Number.NaN, 1]]);
    expect(points).toEqual({ t: [10, 20, 30], v: [1, 5, 3] });
  });

  it("are forgotten but for one before the edge", () => {
    const points = emptyPoints();
    merge(points, line(0, 10, 10));
    trim(points, 55);
    expect(points.t).toEqual([50, 60, 70, 80, 90]);
  });

  it("know how long a pause is a gap", () => {
    const points = emptyPoints();
    merge(points, line(0, 50, 2000));
    expect(gapOf(points, 0)).toBe(15_000);
    expect(gapOf(points, 144_000)).toBe(360_000);
  });

  it("break the line at a gap and nowhere else", () => {
    const a = emptyPoints();
    const b = emptyPoints();
    merge(a, [...line(0, 5, 2000), ...line(60_000, 5, 2000)]);
    merge(b, line(1000, 40, 2000));
    const [times, first, second] = align([a, b], 0);
    expect(first?.filter((value) => value === null).length).toBe(1);
    expect(second?.includes(null)).toBe(false);
    expect(times.length).toBe(first?.length);
    expect([...times].sort((x, y) => x - y)).toEqual(times);
  });

  it("are read at a moment only when they reach it", () => {
    const points = emptyPoints();
    merge(points, line(0, 3, 10));
    expect(valueAt(points, 15, 100)).toBe(1);
    expect(valueAt(points, 500, 100)).toBe(null);
    expect(valueAt(points, -1, 100)).toBe(null);
  });
});

describe("the store of a chart", () => {
  it("appends live records to what was fetched, decimals as text", () => {
    const store = new SeriesStore(60_000);
    const now = Date.now();
    store.load({ from: "", to: "", truncated: false, series: [{ table: "t", source: "s", field: "f", points: [[now - 2000, 1]] }] });
    const before = store.version;
    store.append([{ kind: "metric", table: "t", source: "s", time: now, message_id: 1, fields: { f: "2.5", text: "no" } }]);
    store.append([{ kind: "event", table: "t", source: "s", time: now, message_id: 2, fields: { f: 9 } }]);
    expect(store.get(seriesKey("t", "s", "f")).v).toEqual([1, 2.5]);
    expect(store.version).toBe(before + 1);
  });
});
