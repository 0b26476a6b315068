// SPDX-License-Identifier: Apache-2.0
// What the views of the gateway page share.

import { CloseButton, TextInput } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { number } from "../lib/format";
import type { Line } from "../lib/rates";
import { S } from "../strings";
import { Problem } from "../components/bits";

export type View = "nodes" | "clients" | "channels" | "queues" | "console";
export const VIEWS: View[] = ["nodes", "clients", "channels", "queues", "console"];

export const count = (value: number | null | undefined): string =>
  value === null || value === undefined ? S.common.none : value.toLocaleString("en");

export const perSecond = (value: number | null): string => (value === null ? S.common.none : number(value));

const WIDTH = 240;
const HEIGHT = 36;

/** A line without axes: how a figure went. Gaps stay gaps. */
export function Spark({ line, label, windowMs }: { line: Line; label: string; windowMs: number }) {
  const end = line.t.at(-1) ?? 0;
  const most = Math.max(1e-9, ...line.v.map((value) => value ?? 0));
  let path = "";
  let pen = false;
  line.v.forEach((value, n) => {
    if (value === null) {
      pen = false;
      return;
    }
    const x = WIDTH * (1 - (end - line.t[n]!) / windowMs);
    const y = HEIGHT - 2 - (HEIGHT - 5) * (value / most);
    path += `${pen ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = true;
  });
  return (
    <svg className="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={label}>
      <path d={`M0 ${HEIGHT - 1.5}H${WIDTH}`} className="base" />
      {path && <path d={path} className="line" />}
    </svg>
  );
}

export function Find(props: { label: string; value: string; onChange: (value: string) => void }) {
  return (
    <TextInput
      className="find"
      data-find
      aria-label={props.label}
      placeholder={props.label}
      leftSection={<IconSearch size={15} />}
      rightSection={
        props.value ? (
          <CloseButton size="sm" aria-label={S.gateway.clients.clear} onClick={() => props.onChange("")} />
        ) : (
          <kbd className="hidephone">/</kbd>
        )
      }
      value={props.value}
      spellCheck={false}
      autoCapitalize="off"
      onChange={(event) => props.onChange(event.currentTarget.value)}
      onKeyDown={(event) => {
        if (event.key === "Escape") {
          if (props.value) props.onChange("");
          else event.currentTarget.blur();
        } else if (event.key === "ArrowDown") {
          event.preventDefault();
          document.querySelector<HTMLElement>("[data-row]")?.focus();
        } else if (event.key === "Enter") {
          document.querySelector<HTMLElement>("[data-row]")?.click();
        }
      }}
    />
  );
}

/** What a list lacks, and that it is not of now. */
export function Lacks({ silent, error, retry }: { silent: number[] | undefined; error: unknown; retry: () => void }) {
  return (
    <>
      {silent !== undefined && silent.length > 0 && (
        <p className="listnote warn" role="status">
          {S.gateway.silent(silent)}
        </p>
      )}
      {Boolean(error) && (
        <div style={{ padding: "0 16px 12px" }}>
          <Problem error={error} tone="warn" title={S.gateway.stale} retry={retry} />
        </div>
      )}
    </>
  );
}
