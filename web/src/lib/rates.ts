// SPDX-License-Identifier: Apache-2.0
// Rates of gateway nodes, made of counters that only grow.

export interface Sample {
  /** Milliseconds since 1970. */
  t: number;
  nodes: Map<string, Record<string, number>>;
}

export interface Line {
  t: number[];
  v: (number | null)[];
}

/** The last few minutes of samples. A node that is new or has restarted gives no rate until its second sample. */
export class RateHistory {
  private samples: Sample[] = [];
  version = 0;

  constructor(private readonly windowMs: number) {}

  add(t: number, nodes: Iterable<[string, Record<string, number>]>): void {
    const last = this.samples.at(-1);
    if (last && t - last.t < 200) return;
    this.samples.push({ t, nodes: new Map(nodes) });
    while (this.samples[0] && t - this.samples[0].t > this.windowMs) this.samples.shift();
    this.version += 1;
  }

  /** Events a second of a counter between the last two samples; of one node, or of all. */
  rate(counter: string, node?: string): number | null {
    const [before, now] = this.samples.slice(-2);
    return before && now ? between(before, now, counter, node) : null;
  }

  /** The rate over time, of all nodes together. */
  rates(counter: string): Line {
    const line: Line = { t: [], v: [] };
    for (let n = 1; n < this.samples.length; n += 1) {
      const now = this.samples[n]!;
      line.t.push(now.t);
      line.v.push(between(this.samples[n - 1]!, now, counter));
    }
    return line;
  }

  /** A figure over time, of all nodes together. */
  values(figure: string): Line {
    const line: Line = { t: [], v: [] };
    for (const sample of this.samples) {
      line.t.push(sample.t);
      line.v.push(sample.nodes.size ? [...sample.nodes.values()].reduce((sum, each) => sum + (each[figure] ?? 0), 0) : null);
    }
    return line;
  }
}

function between(before: Sample, now: Sample, counter: string, node?: string): number | null {
  const seconds = (now.t - before.t) / 1000;
  // Somebody looked away: what happened meanwhile is no rate of now.
  if (seconds <= 0 || seconds > 30) return null;
  let sum: number | null = null;
  for (const [id, counters] of now.nodes) {
    if (node !== undefined && id !== node) continue;
    const a = before.nodes.get(id)?.[counter];
    const b = counters[counter];
    if (a === undefined || b === undefined || b < a) continue;
    sum = (sum ?? 0) + (b - a) / seconds;
  }
  return sum;
}
