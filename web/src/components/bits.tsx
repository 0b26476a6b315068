// SPDX-License-Identifier: Apache-2.0
// The small parts that every page is made of.

import { ActionIcon, Tooltip } from "@mantine/core";
import { IconAlertTriangle, IconCheck, IconCopy } from "@tabler/icons-react";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { ApiError } from "../api/client";
import type { Presence, PresenceState } from "../api/types";
import { useNow } from "../lib/hooks";
import { absolute, ago, ms, span } from "../lib/time";
import { S } from "../strings";

export function Card(props: { title?: ReactNode; icon?: ReactNode; right?: ReactNode; flush?: boolean; children: ReactNode; label?: string; id?: string }) {
  return (
    <section className="card" aria-label={props.label} id={props.id}>
      {props.title !== undefined && (
        <header>
          {props.icon && <span className="icon row">{props.icon}</span>}
          <h3 className="clip">{props.title}</h3>
          <span className="grow" />
          {props.right}
        </header>
      )}
      <div className={props.flush ? "body flush" : "body"}>{props.children}</div>
    </section>
  );
}

/** A moment: relative, absolute on hover. */
export function Ago({ time, interval = 1000 }: { time: string | null | undefined; interval?: number }) {
  const now = useNow(interval);
  const at = ms(time);
  if (Number.isNaN(at)) return <span className="muted">{S.common.none}</span>;
  return (
    <Tooltip label={absolute(at)}>
      <time dateTime={time ?? undefined}>{ago(at, now)}</time>
    </Tooltip>
  );
}

/** A span up to now: "3 h 12 min". */
export function Since({ time }: { time: string | null | undefined }) {
  const now = useNow(1000);
  const at = ms(time);
  if (Number.isNaN(at)) return null;
  return (
    <Tooltip label={absolute(at)}>
      <time dateTime={time ?? undefined}>{span(now - at)}</time>
    </Tooltip>
  );
}

/** Presence is told by shape, colour and word. */
export function PresenceSign({ state, size = 9 }: { state: PresenceState; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 10 10" aria-hidden="true">
      {state === "online" && <circle cx="5" cy="5" r="4.2" fill="currentColor" />}
      {state === "offline" && <circle cx="5" cy="5" r="3.6" fill="none" stroke="currentColor" strokeWidth="1.6" />}
      {state === "verifying" && (
        <>
          <circle cx="5" cy="5" r="3.8" fill="none" stroke="currentColor" strokeWidth="1.4" strokeDasharray="2 1.6" />
          <circle cx="5" cy="5" r="1.4" fill="currentColor" />
        </>
      )}
      {state === "never" && <path d="M1.5 5h7" stroke="currentColor" strokeWidth="1.8" strokeLinecap="round" />}
    </svg>
  );
}

const causeText = (presence: Presence): string => presence.cause_text || S.presence.causes[presence.cause] || presence.cause;

export function presenceHint(presence: Presence): string {
  if (presence.state === "never") return S.presence.whyNever;
  if (presence.state === "verifying") return S.presence.whyVerifying;
  return causeText(presence);
}

/** For a row: sign, word and since. */
export function PresenceCell({ presence }: { presence: Presence }) {
  const at = ms(presence.since);
  return (
    <Tooltip label={[presenceHint(presence), Number.isNaN(at) ? "" : absolute(at)].filter(Boolean).join(" · ")}>
      <span className={`presence ${presence.state}`}>
        <PresenceSign state={presence.state} />
        <span>{S.presence[presence.state]}</span>
        {presence.state !== "never" && (
          <span className="muted num">
            <SinceText at={at} />
          </span>
        )}
      </span>
    </Tooltip>
  );
}

function SinceText({ at }: { at: number }) {
  const now = useNow(1000);
  return Number.isNaN(at) ? null : <>{span(now - at)}</>;
}

/** For the device's head: pill, since and why. */
export function PresencePill({ presence }: { presence: Presence }) {
  return (
    <span className="row wrap">
      <span className={`pill ${presence.state}`} data-testid="presence">
        <PresenceSign state={presence.state} />
        {S.presence[presence.state]}
      </span>
      <span className="muted small">
        {presence.since && presence.state !== "never" && (
          <>
            {S.presence.for}
            <Since time={presence.since} />
            {" · "}
          </>
        )}
        {presenceHint(presence)}
      </span>
    </span>
  );
}

export function useCopy(): [boolean, (text: string) => void] {
  const [copied, set] = useState(false);
  const timer = useRef<number | undefined>(undefined);
  useEffect(() => () => window.clearTimeout(timer.current), []);
  const copy = (text: string) => {
    void writeClipboard(text).then(() => {
      set(true);
      window.clearTimeout(timer.current);
      timer.current = window.setTimeout(() => set(false), 1600);
    });
  };
  return [copied, copy];
}

/** Plain http off loopback has no clipboard API; a hidden field does it there. */
export async function writeClipboard(text: string): Promise<void> {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea");
  field.value = text;
  field.style.position = "fixed";
  field.style.opacity = "0";
  (document.querySelector("[role=dialog]") ?? document.body).append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

export function CopyButton({ text, label = S.common.copy }: { text: string; label?: string }) {
  const [copied, copy] = useCopy();
  return (
    <Tooltip label={copied ? S.common.copied : label} closeDelay={300}>
      <ActionIcon variant="subtle" color="gray" size={28} aria-label={label} onClick={() => copy(text)}>
        {copied ? <IconCheck size={15} /> : <IconCopy size={15} />}
      </ActionIcon>
    </Tooltip>
  );
}

/** An identifier that copies itself when clicked. */
export function CopyId({ label, value }: { label: string; value: string }) {
  const [copied, copy] = useCopy();
  return (
    <Tooltip label={copied ? S.common.copied : `${S.common.copy}: ${value}`} closeDelay={300}>
      <button type="button" className="plain copyid" onClick={() => copy(value)} aria-label={`${S.common.copy} ${label}`}>
        <span>{label}</span>
        <span className="mono clip">{value}</span>
        {copied ? <IconCheck size={13} /> : <IconCopy size={13} />}
      </button>
    </Tooltip>
  );
}

export function CodeLine({ code, wrap }: { code: string; wrap?: boolean }) {
  return (
    <div className={wrap ? "codeline wrap" : "codeline"}>
      <code tabIndex={0}>{code}</code>
      <CopyButton text={code} />
    </div>
  );
}

export function Problem({ error, retry, tone, title }: { error: unknown; retry?: () => void; tone?: "warn"; title?: string }) {
  if (!error) return null;
  const known = error instanceof ApiError ? error : null;
  return (
    <div className={tone ? `problem ${tone}` : "problem"} role="alert">
      <IconAlertTriangle size={17} />
      <div className="grow">
        {title && <p className="strong">{title}</p>}
        <p className="break">{error instanceof Error ? error.message : String(error)}</p>
        {known?.hint && <p className="small break">{known.hint}</p>}
        {known && known.code !== "network" && (
          <p className="muted small">
            {S.errors.code} <span className="mono">{known.code}</span>
            {known.where && (
              <>
                {" · "}
                <span className="mono break">{known.where}</span>
              </>
            )}
          </p>
        )}
        {retry && (
          <button type="button" className="plain link small" onClick={retry}>
            {S.common.retry}
          </button>
        )}
      </div>
    </div>
  );
}

export function Empty({ title, children, small, icon }: { title: string; children?: ReactNode; small?: boolean; icon?: ReactNode }) {
  return (
    <div className={small ? "empty small" : "empty"}>
      {icon}
      <h3>{title}</h3>
      {children}
    </div>
  );
}

export function Segments<V extends string>(props: {
  value: V;
  onChange: (value: V) => void;
  options: { value: V; label: ReactNode }[];
  label: string;
  small?: boolean;
}) {
  const move = (by: number) => {
    const at = props.options.findIndex((option) => option.value === props.value);
    const next = props.options[(at + by + props.options.length) % props.options.length];
    if (next) props.onChange(next.value);
  };
  return (
    <div
      className={props.small ? "segments small" : "segments"}
      role="radiogroup"
      aria-label={props.label}
      onKeyDown={(event) => {
        const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
        if (!by) return;
        event.preventDefault();
        move(by);
        const buttons = event.currentTarget;
        requestAnimationFrame(() => buttons.querySelector<HTMLElement>("[aria-checked=true]")?.focus());
      }}
    >
      {props.options.map((option) => (
        <button
          key={option.value}
          type="button"
          role="radio"
          aria-checked={option.value === props.value}
          tabIndex={option.value === props.value ? 0 : -1}
          onClick={() => props.onChange(option.value)}
        >
          {option.label}
        </button>
      ))}
    </div>
  );
}

export const Skeleton = ({ width, height = 10 }: { width: number | string; height?: number }) => (
  <span className="skeleton" style={{ width, height }} />
);

/** Grey lines where the values of a card will be. */
export function SkeletonRows({ rows }: { rows: number }) {
  return (
    <div aria-busy="true">
      {Array.from({ length: rows }, (_, n) => (
        <div key={n} className="row" style={{ height: 32, justifyContent: "space-between" }}>
          <Skeleton width={`${30 + ((n * 13) % 20)}%`} />
          <Skeleton width={`${14 + ((n * 7) % 16)}%`} />
        </div>
      ))}
    </div>
  );
}

/** Arrow keys walk through the rows of a table whose rows can be focused. */
export function rowKeys(event: React.KeyboardEvent<HTMLElement>): void {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp" && event.key !== "Home" && event.key !== "End") return;
  const row = (event.target as HTMLElement).closest<HTMLElement>("[data-row]");
  if (!row) return;
  const all = [...event.currentTarget.querySelectorAll<HTMLElement>("[data-row]")].filter((each) => each.offsetParent);
  const at = all.indexOf(row);
  const to =
    event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : event.key === "ArrowDown" ? at + 1 : at - 1;
  event.preventDefault();
  all[Math.max(0, Math.min(all.length - 1, to))]?.focus();
}
