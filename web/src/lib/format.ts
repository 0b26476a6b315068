// SPDX-License-Identifier: Apache-2.0
// Numbers for people: tabular, with a unit, scaled where the unit is bytes.

export type TemperatureUnit = "C" | "F";

const BINARY = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];
const BYTES: Record<string, [string, number]> = {
  B: ["B", 1],
  byte: ["B", 1],
  bytes: ["B", 1],
  KB: ["B", 1024],
  kB: ["B", 1024],
  KiB: ["B", 1024],
  MB: ["B", 1024 ** 2],
  MiB: ["B", 1024 ** 2],
  GB: ["B", 1024 ** 3],
  GiB: ["B", 1024 ** 3],
  "B/s": ["B/s", 1],
  "bytes/s": ["B/s", 1],
  "KB/s": ["B/s", 1024],
  "kB/s": ["B/s", 1024],
  "KiB/s": ["B/s", 1024],
  "MB/s": ["B/s", 1024 ** 2],
  "MiB/s": ["B/s", 1024 ** 2],
};

/** How a metric's numbers become text: one instance for each axis, so that all ticks share a scale. */
export interface Scale {
  unit: string;
  /** Divide by this before showing. */
  divisor: number;
}

/** Whether a unit counts bytes and may be scaled. */
export const countsBytes = (unit: string): boolean => unit in BYTES;

/** The scale for values up to `max` of `unit`. */
export function scaleFor(unit: string, max: number): Scale {
  const known = BYTES[unit];
  if (!known) return { unit, divisor: 1 };
  const [base, factor] = known;
  let step = 0;
  let size = Math.abs(max) * factor;
  while (size >= 1024 && step < BINARY.length - 1) {
    size /= 1024;
    step += 1;
  }
  return { unit: `${BINARY[step]}${base}`, divisor: 1024 ** step / factor };
}

/** A number with as many decimals as are worth reading. */
export function number(value: number): string {
  const size = Math.abs(value);
  const decimals = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return value.toLocaleString("en", { maximumFractionDigits: decimals });
}

/** Kelvin, as octo sends temperatures, in the viewer's unit. */
export function temperature(kelvin: number, unit: TemperatureUnit): number {
  const celsius = kelvin - 273.15;
  return unit === "C" ? celsius : celsius * 1.8 + 32;
}

/** "10.20.0.7" of "10.20.0.7:51978", "fe80::1" of "[fe80::1]:51978": the port of an agent says nothing. */
export const hostOf = (address: string): string => address.replace(/^\[(.*)\]:\d+$/, "$1").replace(/^([^:]+):\d+$/, "$1");

/** Number and unit, never apart: a thin space before signs, a full one before words. */
export const spaced = (text: string, unit: string): string => (unit ? `${text}${/^[%°]/.test(unit) ? "\u202f" : "\u00a0"}${unit}` : text);

/** "12.3 %", "4.2 MiB". A space between number and unit, none before ° alone. */
export function withUnit(value: number, unit: string): string {
  const scale = scaleFor(unit, value);
  const text = number(value / scale.divisor);
  return spaced(text, scale.unit);
}
