// SPDX-License-Identifier: Apache-2.0
// Times: relative beside absolute, the viewer's zone, 24 hours. A time that is not known is a dash.

import { S } from "../strings";

const two = (n: number) => String(n).padStart(2, "0");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Milliseconds since the epoch of an RFC 3339 text; NaN for nothing. */
export const ms = (text: string | null | undefined): number => (text ? Date.parse(text) : NaN);

/** A span in words: "12 s", "4 min", "3 h 12 min", "5 days". */
export function span(milliseconds: number): string {
  if (Number.isNaN(milliseconds)) return S.common.none;
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return S.time.s(seconds);
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return S.time.min(minutes);
  const hours = Math.floor(minutes / 60);
  if (hours < 10) return S.time.hMin(hours, minutes % 60);
  if (hours < 48) return S.time.h(hours);
  return S.time.d(Math.floor(hours / 24));
}

/** What remains of a time, to the nearest minute: a line for 15 minutes does not begin with "14 min". */
export function left(milliseconds: number): string {
  return span(milliseconds < 60_000 ? milliseconds + 999 : Math.round(milliseconds / 60_000) * 60_000);
}

/** How long something took: "840 ms", "3.2 s", then as span(). */
export function took(milliseconds: number): string {
  if (Number.isNaN(milliseconds)) return S.common.none;
  if (milliseconds < 1000) return S.time.ms(Math.max(0, Math.round(milliseconds)));
  if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return span(milliseconds);
}

/** "just now", "12 s ago", "3 h ago". */
export function ago(then: number, now: number): string {
  if (Number.isNaN(then)) return S.common.none;
  return now - then < 5000 ? S.time.now : S.time.ago(span(now - then));
}

/** "14:02" or "14:02:11". */
export function clock(time: number, seconds = false): string {
  if (Number.isNaN(time)) return S.common.none;
  const d = new Date(time);
  return `${two(d.getHours())}:${two(d.getMinutes())}${seconds ? `:${two(d.getSeconds())}` : ""}`;
}

/** "21 Nov" of this year, "21 Nov 2025" else. */
export function day(time: number, now = Date.now()): string {
  if (Number.isNaN(time)) return S.common.none;
  const d = new Date(time);
  const year = d.getFullYear() === new Date(now).getFullYear() ? "" : ` ${d.getFullYear()}`;
  return `${d.getDate()} ${MONTHS[d.getMonth()]}${year}`;
}

/** "14:02:11" today, "20 Nov 14:02:11" before. */
export function stamp(time: number, now = Date.now()): string {
  if (Number.isNaN(time)) return S.common.none;
  const today = new Date(time).toDateString() === new Date(now).toDateString();
  return today ? clock(time, true) : `${day(time, now)} ${clock(time, true)}`;
}

/** Everything: "21 Nov 2026 14:02:11 UTC+01:00". */
export function absolute(time: number): string {
  if (Number.isNaN(time)) return S.common.none;
  const d = new Date(time);
  return `${d.getDate()} ${MONTHS[d.getMonth()]} ${d.getFullYear()} ${clock(time, true)} ${zone(d)}`;
}

function zone(d: Date): string {
  const minutes = -d.getTimezoneOffset();
  if (!minutes) return "UTC";
  const size = Math.abs(minutes);
  return `UTC${minutes < 0 ? "−" : "+"}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}
