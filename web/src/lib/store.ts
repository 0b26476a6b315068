// SPDX-License-Identifier: Apache-2.0
// The points of one device's charts, outside of React: the live feed appends, charts read once a second.

import type { LiveRecord, Metrics } from "../api/types";
import { emptyPoints, merge, type Points, trim } from "./series";

export const seriesKey = (table: string, source: string, field: string): string => `${table}\u0000${source}\u0000${field}`;

export class SeriesStore {
  /** Raised with every change. */
  version = 0;
  /** Whether the window has been fetched at all. */
  loaded = false;
  truncated = false;
  private readonly series = new Map<string, Points>();

  constructor(readonly windowMs: number) {}

  load(metrics: Metrics): void {
    for (const each of metrics.series) merge(this.at(seriesKey(each.table, each.source, each.field)), each.points);
    this.truncated = metrics.truncated;
    this.loaded = true;
    this.version += 1;
  }

  append(records: LiveRecord[]): void {
    let changed = false;
    for (const record of records) {
      if (record.kind !== "metric") continue;
      for (const [field, value] of Object.entries(record.fields)) {
        const number = typeof value === "string" ? Number(value) : value;
        if (typeof number !== "number" || !Number.isFinite(number)) continue;
        merge(this.at(seriesKey(record.table, record.source, field)), [[record.time, number]]);
        changed = true;
      }
    }
    if (!changed) return;
    this.version += 1;
    const from = Date.now() - this.windowMs * 1.1;
    this.series.forEach((points) => trim(points, from));
  }

  get(key: string): Points {
    return this.series.get(key) ?? NOTHING;
  }

  private at(key: string): Points {
    let points = this.series.get(key);
    if (!points) {
      points = emptyPoints();
      this.series.set(key, points);
    }
    return points;
  }
}

const NOTHING: Points = emptyPoints();
