// SPDX-License-Identifier: Apache-2.0
// Points of series: merged from REST and the live feed, aligned for the chart, with gaps told honestly.

/** Ascending times (ms) and their values. */
export interface Points {
  t: number[];
  v: number[];
}

export const emptyPoints = (): Points => ({ t: [], v: [] });

/** Add points that are mostly newer; keeps order, the later value wins for an equal time. */
export function merge(into: Points, points: Iterable<readonly [number, number]>): void {
  for (const [t, v] of points) {
    if (!Number.isFinite(t) || !Number.isFinite(v)) continue;
    const last = into.t.length - 1;
    if (last < 0 || t > into.t[last]!) {
      into.t.push(t);
      into.v.push(v);
      continue;
    }
    const at = lowerBound(into.t, t);
    if (into.t[at] === t) into.v[at] = v;
    else {
      into.t.splice(at, 0, t);
      into.v.splice(at, 0, v);
    }
  }
}

/** Forget what is older than `from`, but keep one point before it so that the line reaches the edge. */
export function trim(points: Points, from: number): void {
  const at = lowerBound(points.t, from) - 1;
  if (at > 0) {
    points.t.splice(0, at);
    points.v.splice(0, at);
  }
}

/** Index of the first time that is not before `t`. */
export function lowerBound(times: number[], t: number): number {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle]! < t) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A pause longer than this is a gap: several times the usual distance, never less than 15 s or the window's step. */
export function gapOf(points: Points, step: number): number {
  const deltas: number[] = [];
  for (let i = Math.max(1, points.t.length - 200); i < points.t.length; i += 1) deltas.push(points.t[i]! - points.t[i - 1]!);
  deltas.sort((a, b) => a - b);
  const median = deltas[deltas.length >> 1] ?? 0;
  return Math.max(15_000, 4 * median, 2.5 * step);
}

/** What uPlot draws: seconds, then for each series a value, null for a gap, undefined for "no point here, go on". */
export type Aligned = [number[], ...(number | null | undefined)[][]];

export function align(series: Points[], step: number, convert: (value: number) => number = (v) => v): Aligned {
  const times = new Set<number>();
  const breaks = series.map((points) => {
    const gap = gapOf(points, step);
    const found: number[] = [];
    points.t.forEach((t, i) => {
      times.add(t);
      const before = points.t[i - 1];
      if (before !== undefined && t - before > gap) {
        found.push(before + 1);
        times.add(before + 1);
      }
    });
    return found;
  });
  const all = [...times].sort((a, b) => a - b);
  const place = new Map(all.map((t, i) => [t, i]));
  const columns = series.map((points, n) => {
    const column: (number | null | undefined)[] = new Array(all.length).fill(undefined);
    points.t.forEach((t, i) => (column[place.get(t)!] = convert(points.v[i]!)));
    breaks[n]!.forEach((t) => (column[place.get(t)!] = null));
    return column;
  });
  return [all.map((t) => t / 1000), ...columns];
}

/** The value at or before `t`, within `reach`; null when the series says nothing there. */
export function valueAt(points: Points, t: number, reach: number): number | null {
  const at = lowerBound(points.t, t + 1) - 1;
  if (at < 0 || t - points.t[at]! > reach) return null;
  return points.v[at]!;
}
