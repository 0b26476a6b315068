// SPDX-License-Identifier: Apache-2.0
// A command: its form as declared, then how it goes and what came back.

import { Button, Drawer } from "@mantine/core";
import {
  IconAlertTriangle,
  IconCircleCheck,
  IconCircleDashed,
  IconCircleX,
  IconClock,
  IconHelpCircle,
  IconLoader2,
  IconPlayerPlay,
} from "@tabler/icons-react";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { ApiError } from "../api/client";
import { useCancelCommand, useCommand, useSubmitCommand } from "../api/queries";
import type { Command, CommandSpec, Device, Module, Plugin } from "../api/types";
import { CopyButton, Problem, SkeletonRows } from "../components/bits";
import { ParamField } from "../components/ParamField";
import { ResultView } from "../components/ValueView";
import { flat, initial, isVisible, label, rows, toWire, validate, type Values } from "../lib/form";
import { useNow } from "../lib/hooks";
import { Kept } from "../lib/kept";
import { absolute, clock, left, ms, took } from "../lib/time";
import { S } from "../strings";

export interface Target {
  plugin: Plugin;
  module: Module;
  command: CommandSpec;
}

interface Props {
  device: Device;
  target: Target | null;
  /** A command of the past that is being looked at. */
  commandId: string | null;
  mayRun: boolean;
  onClose: () => void;
  onShow: (id: string | null) => void;
}

export function CommandDrawer({ device, target, commandId, mayRun, onClose, onShow }: Props) {
  const kept = useRef(target);
  if (target) kept.current = target;
  const shown = target ?? (commandId ? null : kept.current);
  const opened = target !== null || commandId !== null;
  useEscape(opened, onClose);
  const title = shown ? label(shown.command) : S.commands.progress;
  return (
    <Drawer
      opened={opened}
      closeOnEscape={false}
      onClose={onClose}
      position="right"
      size={480}
      title={<span className="strong" style={{ fontSize: 15 }}>{commandId && !target ? <HistoryTitle id={commandId} /> : title}</span>}
      closeButtonProps={{ "aria-label": S.common.close }}
    >
      {commandId ? (
        <Progress
          id={commandId}
          target={target}
          onAgain={target && mayRun ? () => onShow(null) : null}
        />
      ) : (
        shown && <Form key={`${shown.plugin.app_guid}/${shown.module.moduleName}/${shown.command.name}`} device={device} target={shown} mayRun={mayRun} onStarted={onShow} />
      )}
    </Drawer>
  );
}

/** Esc closes what is on top: an open calendar or list first, the drawer after it. */
function useEscape(opened: boolean, close: () => void): void {
  const latest = useRef(close);
  latest.current = close;
  useEffect(() => {
    if (!opened) return;
    const listen = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      const above = [...document.querySelectorAll("[class*='-dropdown']")].some((each) => each.getClientRects().length > 0);
      if (!above) latest.current();
    };
    window.addEventListener("keydown", listen, { capture: true });
    return () => window.removeEventListener("keydown", listen, { capture: true });
  }, [opened]);
}

function HistoryTitle({ id }: { id: string }) {
  const { data } = useCommand(id);
  return <>{data?.name ?? S.commands.progress}</>;
}

/** What was typed, kept while the drawer goes to the progress and back. */
const drafts = new Kept<Record<string, Values>>({});

function Form({ device, target, mayRun, onStarted }: { device: Device; target: Target; mayRun: boolean; onStarted: (id: string) => void }) {
  const { plugin, module, command } = target;
  const draftKey = `${device.id}/${plugin.app_guid}/${module.moduleName}/${command.name}`;
  const [values, setValues] = useState<Values>(() => ({ ...initial(command, module), ...drafts.get()[draftKey] }));
  const [errors, setErrors] = useState<Record<string, string>>({});
  const submit = useSubmitCommand(device.id);
  const key = useRef(newKey());
  const form = useRef<HTMLFormElement>(null);

  const set = (name: string, value: string | boolean) => {
    const next = { ...values, [name]: value };
    setValues(next);
    drafts.set({ ...drafts.get(), [draftKey]: withoutSecrets(command, next) });
    if (errors[name]) setErrors(({ [name]: _gone, ...rest }) => rest);
  };

  const run = (event: FormEvent) => {
    event.preventDefault();
    const found = validate(command, module, values);
    setErrors(found);
    const first = Object.keys(found)[0];
    if (first) {
      requestAnimationFrame(() =>
        form.current?.querySelector<HTMLElement>(`[data-param="${CSS.escape(first)}"], [aria-invalid="true"]`)?.focus(),
      );
      return;
    }
    submit.mutate(
      { app_guid: plugin.app_guid, module: module.moduleName, name: command.name, params: toWire(command, values), key: key.current },
      {
        onSuccess: (started) => onStarted(started.id),
        onError: (error) => {
          // The same key again only when it is unknown whether the first try arrived.
          if (error instanceof ApiError && error.status !== 0) key.current = newKey();
          const field = error instanceof ApiError ? /^\$\.params\.(.+)$/.exec(error.where)?.[1] : undefined;
          if (field) setErrors({ [field]: error.message });
        },
      },
    );
  };

  const all = flat(command);
  const offline = device.presence.state !== "online";
  return (
    <form
      ref={form}
      className="stack"
      noValidate
      onSubmit={run}
      onKeyDown={(event) => (event.metaKey || event.ctrlKey) && event.key === "Enter" && form.current?.requestSubmit()}
    >
      <p className="muted" style={{ margin: 0 }}>
        {command.description}
        {command.description && <br />}
        <span className="small">
          {plugin.display_name || plugin.app_name} · {device.name}
        </span>
      </p>
      {!mayRun && <Problem tone="warn" error={new Error(S.commands.noPrivilege)} />}
      {mayRun && (offline || !plugin.online) && (
        <Problem tone="warn" error={new Error(offline ? S.commands.waitsOffline : S.commands.waitsPlugin)} />
      )}
      {all.length === 0 && <p className="muted small" style={{ margin: 0 }}>{S.commands.noParams}</p>}
      {rows(command).map((row) => {
        const visible = row.filter((param) => isVisible(param, values));
        if (!visible.length) return null;
        return (
          <div className="formrow" key={row.map((param) => param.name).join()}>
            {visible.map((param) => {
              const because = !param.required && param.requiredOn ? all.find((other) => other.name === param.requiredOn) : undefined;
              return (
                <div key={param.name} className={because ? "appear" : undefined}>
                  <ParamField
                    param={param}
                    module={module}
                    values={values}
                    error={errors[param.name]}
                    because={because && label(because)}
                    set={(value) => set(param.name, value)}
                  />
                </div>
              );
            })}
          </div>
        );
      })}
      <Problem error={submit.error} />
      <div className="row">
        <Button type="submit" loading={submit.isPending} disabled={!mayRun} leftSection={<IconPlayerPlay size={15} />} data-autofocus={all.length === 0 || undefined}>
          {S.commands.run} {label(command)}
        </Button>
      </div>
    </form>
  );
}

function withoutSecrets(command: CommandSpec, values: Values): Values {
  const secret = new Set(flat(command).filter((param) => param.displayMask || param.displayType === "tos").map((param) => param.name));
  return Object.fromEntries(Object.entries(values).filter(([name]) => !secret.has(name)));
}

function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function Progress({ id, target, onAgain }: { id: string; target: Target | null; onAgain: (() => void) | null }) {
  const { data: command, error, refetch } = useCommand(id);
  const cancel = useCancelCommand();
  const head = useRef<HTMLDivElement>(null);
  useEffect(() => {
    head.current?.focus({ preventScroll: true });
  }, []);
  if (error && !command) return <Problem error={error} retry={() => void refetch()} />;
  if (!command) return <SkeletonRows rows={5} />;
  const params = Object.entries(command.params);
  const masked = new Set(target ? flat(target.command).filter((param) => param.displayMask).map((param) => param.name) : []);
  const result = command.result;
  const hasResult = result !== null && result !== undefined;
  return (
    <div className="stack" style={{ gap: 16 }} data-testid="progress" data-state={command.state}>
      <div ref={head} tabIndex={-1} style={{ outline: "none" }} role="status" aria-live="polite">
        <div className="row wrap">
          <CommandState state={command.state} />
          <span className="muted small">
            {command.user} · <span title={absolute(ms(command.created_at))}>{clock(ms(command.created_at), true)}</span>
          </span>
        </div>
        <p className="muted" style={{ margin: "8px 0 0" }}>{S.commands.explain[command.state]}</p>
        {MAY_EXPIRE.has(command.state) && <Expiry command={command} />}
      </div>
      {hasResult && (
        <section>
          <div className="row" style={{ marginBottom: 4 }}>
            <span className="category grow" style={{ margin: 0 }}>
              {S.commands.result}
            </span>
            {command.late_result && <span className="chip warn">{S.commands.late}</span>}
            <CopyButton text={typeof result === "string" ? result : JSON.stringify(result, null, 2)} />
          </div>
          <div className="resultbox" data-testid="result">
            <ResultView value={result} />
          </div>
        </section>
      )}
      <section>
        <div className="category" style={{ marginBottom: 6 }}>{S.commands.progress}</div>
        <Steps command={command} />
      </section>
      {params.length > 0 && (
        <section>
          <div className="category">{S.commands.sections.parameters}</div>
          <dl className="facts">
            {params.map(([name, value]) => [
              <dt key={`${name}-t`}>{target ? label(flat(target.command).find((param) => param.name === name) ?? { name }) : name}</dt>,
              <dd key={`${name}-d`}>{masked.has(name) ? "••••••" : String(value)}</dd>,
            ])}
          </dl>
        </section>
      )}
      <Problem error={cancel.error} />
      <div className="row">
        {command.state === "queued" && (
          <Button variant="default" loading={cancel.isPending} onClick={() => cancel.mutate(command.id)}>
            {S.commands.cancelCommand}
          </Button>
        )}
        {command.final && onAgain && (
          <Button variant="default" onClick={onAgain}>
            {params.length > 0 ? S.commands.backToForm : S.commands.again}
          </Button>
        )}
      </div>
      <p className="muted small mono break" style={{ margin: 0 }}>
        {command.id}
      </p>
    </div>
  );
}

function Expiry({ command }: { command: Command }) {
  const now = useNow(1000);
  const at = ms(command.expires_at);
  if (Number.isNaN(at)) return null;
  return <p className="muted small" style={{ margin: "2px 0 0" }}>{at > now ? S.commands.expires(left(at - now)) : S.commands.expired}</p>;
}

function Steps({ command }: { command: Command }) {
  return (
    <ol className="steps">
      {command.steps.map((step, n) => {
        const before = n ? ms(command.steps[n - 1]!.time) : NaN;
        const at = ms(step.time);
        return (
          <li key={`${step.state}-${n}`}>
            <StateIcon state={step.state} running={n === command.steps.length - 1 && !command.final} />
            <span>
              {S.commands.states[step.state] ?? step.state}
              {step.note && <span className="note break"> · {step.note}</span>}
            </span>
            <span className="muted small num" title={absolute(at)}>
              {Number.isNaN(before) ? clock(at, true) : `+${took(at - before)}`}
            </span>
          </li>
        );
      })}
    </ol>
  );
}

const TONES: Record<string, string> = {
  acked: "good",
  errored: "bad",
  rejected: "bad",
  timed_out: "warn",
  unknown: "warn",
  expired: "warn",
  accepted: "accent",
  delivered: "accent",
};

export function CommandState({ state }: { state: string }) {
  return (
    <span className={`chip ${TONES[state] ?? ""}`} data-testid="command-state">
      <StateIcon state={state} size={13} running={RUNNING.has(state)} />
      {S.commands.states[state] ?? state}
    </span>
  );
}

/** Until the plugin has it; from then on its minute runs. */
const MAY_EXPIRE = new Set(["queued", "sent", "received"]);

const RUNNING = new Set(["sent", "received", "delivered", "accepted"]);

function StateIcon({ state, running = false, size = 17 }: { state: string; running?: boolean; size?: number }) {
  const colour = { color: TONES[state] ? `var(--tl-${TONES[state] === "accent" ? "accent-text" : TONES[state]})` : "var(--tl-muted)" };
  if (state === "acked") return <IconCircleCheck size={size} style={colour} />;
  if (state === "errored" || state === "rejected") return <IconCircleX size={size} style={colour} />;
  if (state === "timed_out" || state === "expired") return <IconAlertTriangle size={size} style={colour} />;
  if (state === "unknown") return <IconHelpCircle size={size} style={colour} />;
  if (state === "queued" && running) return <IconClock size={size} style={colour} />;
  if (running) return <IconLoader2 size={size} style={colour} className="spin" />;
  if (state === "queued") return <IconClock size={size} style={colour} />;
  if (state === "cancelled") return <IconCircleX size={size} style={colour} />;
  if (state === "sent" || state === "received" || state === "delivered" || state === "accepted") {
    return <IconCircleCheck size={size} style={{ color: "var(--tl-muted)" }} />;
  }
  return <IconCircleDashed size={size} style={colour} />;
}
