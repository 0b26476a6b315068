// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { RateHistory } from "./rates";

const counters = (n: number) => ({ n });

test("rates are summed over nodes, and wait for a second sample", () => {
  const history = new RateHistory(60_000);
  history.add(1000, [["a", counters(10)]]);
  expect(history.rate("n")).toBeNull();
  history.add(3000, [["a", counters(30)], ["b", counters(500)]]);
  expect(history.rate("n")).toBe(10);
  history.add(5000, [["a", counters(30)], ["b", counters(510)]]);
  expect(history.rate("n")).toBe(5);
  expect(history.rate("n", "a")).toBe(0);
  expect(history.rates("n")).toEqual({ t: [3000, 5000], v: [10, 5] });
  expect(history.values("n").v).toEqual([10, 530, 540]);
});

test("a node that restarts, and a long pause, are no rate", () => {
  const history = new RateHistory(600_000);
  history.add(0, [["a", counters(100)]]);
  history.add(2000, [["a", counters(3)]]);
  expect(history.rate("n")).toBeNull();
  history.add(100_000, [["a", counters(9000)]]);
  expect(history.rate("n")).toBeNull();
});

test("what is older than the window is forgotten, and two samples of one moment count once", () => {
  const history = new RateHistory(5000);
  for (let t = 0; t <= 20_000; t += 1000) history.add(t, [["a", counters(t)]]);
  history.add(20_050, [["a", counters(0)]]);
  expect(history.rates("n").t).toEqual([16_000, 17_000, 18_000, 19_000, 20_000]);
});
