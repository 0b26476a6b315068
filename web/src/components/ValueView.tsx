// SPDX-License-Identifier: Apache-2.0
// Values of properties, states and results, drawn by what they are: text, link, table or JSON.

import { IconExternalLink } from "@tabler/icons-react";
import { useState } from "react";
import type { Json } from "../api/types";
import { absolute, ms } from "../lib/time";
import { S } from "../strings";

type Row = Record<string, Json>;

const isObject = (value: Json | undefined): value is Row => typeof value === "object" && value !== null && !Array.isArray(value);

/** An array of objects is a table. */
export const isTable = (value: Json | undefined): value is Row[] =>
  Array.isArray(value) && value.length > 0 && value.every(isObject);

/** Whether the value needs the width of its card. */
export const isWide = (value: Json | undefined): boolean =>
  isTable(value) || (isObject(value) && !("url" in value)) || (typeof value === "string" && (value.length > 80 || value.includes("\n")));

export const safeUrl = (url: string): string | null => (/^(https?|mailto|ssh|vnc|rdp):/i.test(url.trim()) ? url.trim() : null);

export function ValueView({ value, type }: { value: Json | undefined; type?: string | undefined }) {
  if (value === undefined || value === null) return <span className="muted">{S.cards.noValue}</span>;
  if (value === "" || (Array.isArray(value) && value.length === 0)) return <span className="muted">{S.cards.empty}</span>;
  if (isObject(value) && (type === "link" || typeof value["url"] === "string")) return <LinkValue value={value} />;
  if (isTable(value)) return <TableValue rows={value} />;
  if (typeof value === "string") {
    if (MOMENT.test(value)) return <span title={value}>{absolute(ms(value))}</span>;
    return value.includes("\n") ? <pre className="out">{value}</pre> : <span className="value break">{value}</span>;
  }
  if (typeof value === "number" || typeof value === "boolean") return <span className="value">{String(value)}</span>;
  return <JsonValue value={value} />;
}

const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

function LinkValue({ value }: { value: Row }) {
  const url = typeof value["url"] === "string" ? value["url"] : "";
  const alias = typeof value["alias"] === "string" && value["alias"] ? value["alias"] : url;
  const safe = safeUrl(url);
  if (!alias) return <span className="muted">{S.cards.empty}</span>;
  if (!safe) return <span className="value break">{alias}</span>;
  return (
    <a className="link" href={safe} target="_blank" rel="noopener noreferrer">
      <span className="break">{alias}</span> <IconExternalLink size={13} style={{ verticalAlign: "-2px" }} />
    </a>
  );
}

const NUMERIC = /^-?\d[\d,]*(\.\d+)?\s?(%|[KMGT]?i?B(\/s)?|s|ms|°C|rpm|V|A|W)?$/;

export function TableValue({ rows, limit = 6 }: { rows: Row[]; limit?: number }) {
  const [all, setAll] = useState(false);
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const shown = all ? rows : rows.slice(0, limit);
  const numeric = new Set(columns.filter((column) => rows.every((row) => NUMERIC.test(String(row[column] ?? "")))));
  return (
    <>
      <div className="innerbox">
        <table className="inner">
          <thead>
            <tr>
              {columns.map((column) => (
                <th key={column} className={numeric.has(column) ? "n" : undefined}>
                  {column}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((row, n) => (
              <tr key={n}>
                {columns.map((column) => (
                  <td key={column} className={numeric.has(column) ? "n" : undefined}>
                    {cell(row[column])}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {rows.length > limit && (
        <button type="button" className="plain link small" style={{ marginTop: 4 }} onClick={() => setAll(!all)}>
          {all ? S.cards.showLess : S.cards.showAll(rows.length)}
        </button>
      )}
    </>
  );
}

function cell(value: Json | undefined) {
  if (isObject(value) && typeof value["url"] === "string") return <LinkValue value={value} />;
  if (value === undefined || value === null || value === "") return <span className="muted">{S.common.none}</span>;
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export function JsonValue({ value }: { value: Json }) {
  return <pre className="out">{JSON.stringify(value, null, 2)}</pre>;
}

/** A command's result: text as text, tables as tables, a flat object as facts, the rest as JSON. */
export function ResultView({ value }: { value: Json }) {
  if (value === null || value === undefined || (isObject(value) && Object.keys(value).length === 0)) {
    return <span className="muted">{S.commands.noResult}</span>;
  }
  if (isTable(value)) return <TableValue rows={value} limit={100} />;
  if (isObject(value) && typeof value["url"] !== "string") {
    const entries = Object.entries(value);
    if (entries.every(([, each]) => !isObject(each) || isTable(each) || "url" in each)) {
      return (
        <dl className="facts">
          {entries.map(([key, each]) => {
            const wide = isWide(each);
            return [
              <dt key={`${key}-t`} className={wide ? "wide" : undefined}>
                {key}
              </dt>,
              <dd key={`${key}-d`} className={wide ? "wide" : undefined}>
                {isTable(each) ? <TableValue rows={each} limit={100} /> : <ValueView value={each} />}
              </dd>,
            ];
          })}
        </dl>
      );
    }
    return <JsonValue value={value} />;
  }
  if (typeof value === "string") {
    const parsed = asJson(value);
    return parsed === undefined ? <pre className="out">{value}</pre> : <ResultView value={parsed} />;
  }
  return <ValueView value={value} />;
}

/** Older plugins send their result as text that is JSON. */
function asJson(text: string): Json | undefined {
  if (!/^\s*[[{]/.test(text)) return undefined;
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}
