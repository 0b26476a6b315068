// SPDX-License-Identifier: Apache-2.0
// One chart: uPlot with 24-hour axes, values at the cursor, live data appended once a second.

import { useComputedColorScheme } from "@mantine/core";
import { useEffect, useMemo, useRef, useState } from "react";
import uPlot from "uplot";
import { countsBytes, number, scaleFor, spaced } from "../lib/format";
import { useNow } from "../lib/hooks";
import { align, gapOf, type Points, valueAt } from "../lib/series";
import type { SeriesStore } from "../lib/store";
import { ago, clock, day, span, stamp } from "../lib/time";
import { S } from "../strings";
import { SERIES } from "../theme";

export interface Line {
  key: string;
  label: string;
  description?: string | undefined;
}

export interface Zoom {
  from: number;
  to: number;
}

interface Props {
  name: string;
  lines: Line[];
  unit: string;
  /** From the stored value to the shown one. */
  convert: (value: number) => number;
  store: SeriesStore;
  zoom: Zoom | null;
  onZoom: (zoom: Zoom | null) => void;
  syncKey: string;
}

interface Cursor {
  time: number;
  left: number;
}

export function Chart(props: Props) {
  const { lines, store, unit, convert, zoom, syncKey } = props;
  const scheme = useComputedColorScheme("light");
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const [cursor, setCursor] = useState<Cursor | null>(null);
  const [hovered, setHovered] = useState(false);
  const [near, setNear] = useState(true);
  const now = useNow(1000);
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const drawn = useRef({ version: -1, store: null as SeriesStore | null });
  const onZoom = useRef(props.onZoom);
  onZoom.current = props.onZoom;

  const windowMs = store.windowMs;
  const step = (zoom ? zoom.to - zoom.from : windowMs) / 600;
  const identity = lines.map((line) => line.key).join("\u0001");
  const points = lines.map((line) => store.get(line.key));
  const from = zoom?.from ?? now - windowMs;
  const to = zoom?.to ?? now;
  const last = Math.max(...points.map((each) => each.t.at(-1) ?? 0));
  const inWindow = points.some((each) => each.t.some((t) => t >= from && t <= to));

  // The plot itself is made anew only when its lines or its colours change.
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const style = getComputedStyle(element);
    const colours = SERIES[scheme];
    const options: uPlot.Options = {
      width: element.clientWidth || 400,
      height: element.clientHeight || 188,
      legend: { show: false },
      padding: [10, 18, 0, 0],
      cursor: {
        sync: { key: syncKey, setSeries: false },
        drag: { x: true, y: false, setScale: false },
        points: { size: 7, width: 2 },
      },
      select: { show: true, left: 0, top: 0, width: 0, height: 0 },
      scales: {
        x: { time: true, auto: false, range: (_u, min, max) => [min, max] },
        y: { auto: true, range: (_u, min, max) => yRange(min, max, unit) },
      },
      axes: [timeAxis(style), valueAxis(style, unit)],
      series: [
        {},
        ...lines.map(
          (line, n): uPlot.Series => ({
            label: line.label,
            stroke: colours[n % colours.length]!,
            width: 1.6,
            spanGaps: false,
            points: { show: (u, index) => isLonely(u, index), size: 4, fill: colours[n % colours.length]! },
            ...(n >= 4 ? { dash: [6, 3] } : {}),
            ...(lines.length === 1 ? { fill: `${colours[0]}1a` } : {}),
          }),
        ),
      ],
      hooks: {
        setCursor: [
          (u) => {
            const left = u.cursor.left ?? -1;
            setCursor(left < 0 ? null : { time: u.posToVal(left, "x") * 1000, left });
          },
        ],
        setSelect: [
          (u) => {
            if (u.select.width < 6) return;
            const a = u.posToVal(u.select.left, "x") * 1000;
            const b = u.posToVal(u.select.left + u.select.width, "x") * 1000;
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            if (b - a >= 2000) onZoom.current({ from: Math.round(a), to: Math.round(b) });
          },
        ],
      },
    };
    const made = new uPlot(options, [[], ...lines.map(() => [])] as unknown as uPlot.AlignedData, element);
    plot.current = made;
    drawn.current = { version: -1, store: null };
    const observer = new ResizeObserver(() => {
      if (element.clientWidth) made.setSize({ width: element.clientWidth, height: element.clientHeight });
    });
    observer.observe(element);
    const sight = new IntersectionObserver((seen) => setNear(seen.some((each) => each.isIntersecting)), { rootMargin: "500px" });
    sight.observe(element);
    return () => {
      observer.disconnect();
      sight.disconnect();
      made.destroy();
      plot.current = null;
    };
    // biome-ignore lint: identity stands for lines
  }, [identity, scheme, unit, syncKey]);

  // Once a second (the clock's tick), when it can be seen: new data if there is any, and the window moves on.
  useEffect(() => {
    const u = plot.current;
    if (!u || !near) return;
    u.batch(() => {
      if (drawn.current.version !== store.version || drawn.current.store !== store) {
        drawn.current = { version: store.version, store };
        u.setData(align(points, step, convert) as uPlot.AlignedData, false);
      }
      u.setScale("x", { min: from / 1000, max: to / 1000 });
    });
  });

  useEffect(() => {
    const u = plot.current;
    lines.forEach((line, n) => {
      const show = !hidden.has(line.key);
      if (u && u.series[n + 1]?.show !== show) u.setSeries(n + 1, { show });
    });
  }, [hidden, lines]);

  const convertKey = useRef(convert);
  if (convertKey.current !== convert) {
    convertKey.current = convert;
    drawn.current.version = -1;
  }

  const toggle = (key: string) =>
    setHidden((before) => {
      const next = new Set(before);
      if (!next.delete(key)) next.add(key);
      return next;
    });

  const colours = SERIES[scheme];
  const read = (each: Points, at: number | null): number | null => {
    const raw = at === null ? (each.v.at(-1) ?? null) : valueAt(each, at, gapOf(each, step));
    return raw === null ? null : convert(raw);
  };
  const shown = (value: number | null) => (value === null ? S.common.none : text(value, unit));

  return (
    <>
      <div className="legend">
        {lines.map((line, n) => {
          const each = points[n]!;
          const value = read(each, cursor ? cursor.time : null);
          const age = now - (each.t.at(-1) ?? now);
          const old = !cursor && !zoom && each.t.length > 0 && age > Math.max(30_000, 2 * gapOf(each, 0));
          return (
            <button
              key={line.key}
              type="button"
              className="plain"
              aria-pressed={!hidden.has(line.key)}
              aria-label={S.charts.toggle(line.label)}
              title={line.description}
              onClick={() => toggle(line.key)}
            >
              <Key colour={colours[n % colours.length]!} dashed={n >= 4} />
              <span className="clip">{line.label}</span>
              <b>{shown(value)}</b>
              {old && <span className="age old">{ago(each.t.at(-1)!, now)}</span>}
            </button>
          );
        })}
      </div>
      <div
        className="chart"
        role="img"
        aria-label={S.charts.chart(props.name)}
        onPointerEnter={() => setHovered(true)}
        onPointerLeave={() => setHovered(false)}
        onDoubleClick={() => props.onZoom(null)}
      >
        <div className="plot" ref={host} data-points={points.reduce((sum, each) => sum + each.t.length, 0)} data-last={last} />
        {store.loaded && !inWindow && (
          <div className="note">
            <span>{last ? S.charts.noData : S.charts.waiting}</span>
            {last > 0 && <span>{S.charts.noDataHint(`${span(now - last)} ago`)}</span>}
          </div>
        )}
        {hovered && cursor && inWindow && (
          <Tip cursor={cursor} plot={plot.current}>
            <div className="when">{stamp(cursor.time, now)}</div>
            {lines.map((line, n) =>
              hidden.has(line.key) ? null : (
                <div className="line" key={line.key}>
                  <Key colour={colours[n % colours.length]!} dashed={n >= 4} />
                  <span>{line.label}</span>
                  <b>{shown(read(points[n]!, cursor.time))}</b>
                </div>
              ),
            )}
          </Tip>
        )}
      </div>
    </>
  );
}

function Tip({ cursor, plot, children }: { cursor: Cursor; plot: uPlot | null; children: React.ReactNode }) {
  const ref = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(140);
  useEffect(() => {
    const found = ref.current?.offsetWidth ?? 140;
    if (Math.abs(found - width) > 1) setWidth(found);
  });
  const place = useMemo(() => {
    const box = plot?.over;
    if (!box) return { left: 0, top: 0 };
    const start = box.offsetLeft + cursor.left;
    const right = start + 14 + width < box.offsetLeft + box.clientWidth + 8;
    return { left: Math.max(0, right ? start + 14 : start - 14 - width), top: 14 };
  }, [cursor.left, plot, width]);
  return (
    <div className="tip" ref={ref} style={place}>
      {children}
    </div>
  );
}

function Key({ colour, dashed }: { colour: string; dashed: boolean }) {
  return (
    <svg className="key" width="14" height="3" viewBox="0 0 14 3" aria-hidden="true">
      <path d="M1 1.5h12" stroke={colour} strokeWidth="3" strokeLinecap="round" strokeDasharray={dashed ? "3 4" : undefined} />
    </svg>
  );
}

/** A value with no neighbours would be an invisible line. */
function isLonely(u: uPlot, series: number): boolean {
  const column = u.data[series];
  if (!column) return false;
  let seen = 0;
  for (const value of column) if (value !== null && value !== undefined && (seen += 1) > 2) return false;
  return seen > 0;
}

function text(value: number, unit: string): string {
  const scale = scaleFor(unit, value);
  return spaced(number(value / scale.divisor), scale.unit);
}

/** Percent from 0 to 100; what starts near zero from zero; the rest with some air. */
export function yRange(min: number | null, max: number | null, unit: string): [number, number] {
  if (min === null || max === null || !Number.isFinite(min) || !Number.isFinite(max)) return unit === "%" ? [0, 100] : [0, 1];
  if (unit === "%" && min >= 0 && max <= 100) return [0, 100];
  const air = (max - min || Math.abs(max) || 1) * 0.12;
  if (!unit.startsWith("°") && min >= 0 && (min < max * 0.6 || max === 0)) return [0, max + air || 1];
  return [min - air, max + air];
}

/** Ticks of a byte axis stand at 128 KiB, not at 122.07 KiB. */
const BINARY_STEPS = Array.from({ length: 60 }, (_, n) => 2 ** (n - 4));

const FONT = "11px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

function timeAxis(style: CSSStyleDeclaration): uPlot.Axis {
  return {
    font: FONT,
    stroke: style.getPropertyValue("--tl-muted"),
    grid: { show: false },
    ticks: { stroke: style.getPropertyValue("--tl-grid"), width: 1, size: 4 },
    size: 26,
    gap: 4,
    space: 76,
    incrs: [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400],
    values: (_u, splits, _axis, _space, step) =>
      splits.map((second) => {
        const time = second * 1000;
        const d = new Date(time);
        if (step >= 3600 && d.getHours() === 0 && d.getMinutes() === 0) return day(time);
        return clock(time, step < 60);
      }),
  };
}

function valueAxis(style: CSSStyleDeclaration, unit: string): uPlot.Axis {
  return {
    font: FONT,
    stroke: style.getPropertyValue("--tl-muted"),
    grid: { stroke: style.getPropertyValue("--tl-grid"), width: 1 },
    ticks: { show: false },
    gap: 6,
    space: 34,
    ...(countsBytes(unit) ? { incrs: BINARY_STEPS } : {}),
    size: (_u, values) => Math.max(38, 14 + 6.6 * Math.max(0, ...(values ?? []).map((value) => value.length))),
    values: (u, splits) => {
      if (!u.data[0]?.length) return splits.map(() => "");
      const scale = scaleFor(unit, Math.max(...splits.map(Math.abs)));
      return splits.map((split) => {
        const shown = number(split / scale.divisor);
        return scale.unit !== unit && split !== 0 ? `${shown} ${scale.unit}` : shown;
      });
    },
  };
}
