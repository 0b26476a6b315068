// SPDX-License-Identifier: Apache-2.0
// The remote shell, one command at a time: output, error output, exit code, how long it took.

import { ActionIcon, Button, Tooltip } from "@mantine/core";
import { IconLoader2, IconTerminal2, IconTrash } from "@tabler/icons-react";
import { type FormEvent, type KeyboardEvent, useEffect, useRef, useState } from "react";
import { ApiError, path, post } from "../api/client";
import type { Device, ExecResult } from "../api/types";
import { Card, CopyButton } from "../components/bits";
import { useNow } from "../lib/hooks";
import { Kept, useKept } from "../lib/kept";
import { took } from "../lib/time";
import { S } from "../strings";

interface Entry {
  id: number;
  cmd: string;
  started: number;
  ended: number | null;
  result: ExecResult | null;
  error: string | null;
  waiting: AbortController;
}

/** By device. They survive going to another page and back, and so does the wait for what runs meanwhile. */
const logs = new Kept<Record<string, Entry[]>>({}, (before) => {
  for (const entry of Object.values(before).flat()) if (entry.ended === null) entry.waiting.abort();
});
const NOTHING: Entry[] = [];
const KEPT = 50;
let nextId = 1;

const change = (deviceId: string, how: (entries: Entry[]) => Entry[]): void =>
  logs.set({ ...logs.get(), [deviceId]: how(logs.get()[deviceId] ?? NOTHING) });

async function exec(deviceId: string, cmd: string): Promise<void> {
  const id = nextId++;
  const waiting = new AbortController();
  change(deviceId, (entries) => [
    ...entries.slice(1 - KEPT),
    { id, cmd, started: Date.now(), ended: null, result: null, error: null, waiting },
  ]);
  const finish = (end: Partial<Entry>) =>
    change(deviceId, (entries) => entries.map((entry) => (entry.id === id ? { ...entry, ended: Date.now(), ...end } : entry)));
  try {
    finish({ result: await post<ExecResult>(path(["devices", deviceId, "exec"]), { cmd }, { signal: waiting.signal }) });
  } catch (error) {
    finish({ error: waiting.signal.aborted ? S.console.stopped : failed(error) });
  }
}

function failed(error: unknown): string {
  if (!(error instanceof ApiError)) return String(error);
  if (error.status === 0) return S.console.network;
  // Without a code of ours it is a proxy that answers; neither it nor a server that stops knows.
  return error.code.startsWith("http.") || error.code === "server.closing" ? `${error.message}. ${S.console.notKnown}` : error.message;
}

export function Console({ device, mayRun }: { device: Device; mayRun: boolean }) {
  const entries = useKept(logs)[device.id] ?? NOTHING;
  const [text, setText] = useState("");
  const [recall, setRecall] = useState<number | null>(null);
  const running = entries.find((entry) => entry.ended === null);
  const log = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLInputElement>(null);
  const form = useRef<HTMLFormElement>(null);
  const online = device.presence.state === "online";
  const enabled = online && mayRun;

  useEffect(() => {
    log.current?.scrollTo({ top: log.current.scrollHeight });
    // What was typed stays in view while output pushes it down.
    if (form.current?.contains(document.activeElement)) form.current.scrollIntoView({ block: "nearest" });
  }, [entries]);

  const run = async (cmd: string) => {
    if (!cmd.trim() || running || !enabled) return;
    setText("");
    setRecall(null);
    await exec(device.id, cmd);
    input.current?.focus();
  };

  const keys = (event: KeyboardEvent<HTMLInputElement>) => {
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
    const past = entries.map((entry) => entry.cmd);
    if (!past.length) return;
    event.preventDefault();
    const at = (recall ?? past.length) + (event.key === "ArrowUp" ? -1 : 1);
    const to = Math.max(0, Math.min(past.length, at));
    setRecall(to);
    setText(past[to] ?? "");
  };

  return (
    <Card
      title={S.console.title}
      icon={<IconTerminal2 size={16} />}
      flush
      id="section-console"
      right={
        entries.length > 0 && !running ? (
          <Tooltip label={S.console.clear}>
            <ActionIcon variant="subtle" color="gray" size={28} aria-label={S.console.clear} onClick={() => change(device.id, () => [])}>
              <IconTrash size={15} />
            </ActionIcon>
          </Tooltip>
        ) : undefined
      }
    >
      <div className="console" onClick={() => window.getSelection()?.isCollapsed && input.current?.focus()}>
        {entries.length === 0 && (
          <div className="hint">
            {S.console.hint}
            {enabled && (
              <span className="nowrap">
                {" "}
                {S.console.examples.map((example) => (
                  <button key={example} type="button" className="plain" onClick={() => void run(example)}>
                    {example}
                  </button>
                ))}
              </span>
            )}
          </div>
        )}
        {entries.length > 0 && (
          <div className="log" ref={log} tabIndex={0} role="log" aria-label={S.console.title}>
            {entries.map((entry) => (
              <ConsoleEntry key={entry.id} entry={entry} />
            ))}
          </div>
        )}
        <form
          ref={form}
          className={entries.length ? "entryline ruled" : "entryline"}
          onSubmit={(event: FormEvent) => {
            event.preventDefault();
            void run(text);
          }}
        >
          <span className="prompt" aria-hidden="true">
            $
          </span>
          <input
            ref={input}
            value={text}
            disabled={!enabled}
            aria-label={S.console.input}
            placeholder={!mayRun ? S.console.noPrivilege : online ? S.console.placeholder : S.console.offline}
            spellCheck={false}
            autoCapitalize="off"
            autoComplete="off"
            autoCorrect="off"
            onChange={(event) => setText(event.currentTarget.value)}
            onKeyDown={keys}
          />
          {running ? (
            <Button size="compact-sm" variant="default" h={30} onClick={() => running.waiting.abort()}>
              {S.console.stop}
            </Button>
          ) : (
            <Button size="compact-sm" type="submit" h={30} px={12} disabled={!enabled || !text.trim()}>
              {S.console.run}
            </Button>
          )}
        </form>
      </div>
    </Card>
  );
}

function ConsoleEntry({ entry }: { entry: Entry }) {
  const { result } = entry;
  const bad = entry.error !== null || (result !== null && result.return_code !== 0);
  const stdout = plain(result?.stdout ?? "");
  const stderr = plain(result?.stderr ?? "");
  const output = [stdout, stderr].filter(Boolean).join("\n");
  const long = output.split("\n", 16).length > 15;
  return (
    <div className="entry" data-testid="exec">
      <div className="cmd">
        <span className="prompt">$</span>
        <span className="text">{entry.cmd}</span>
        {output && (
          <span className="iconbtn">
            <CopyButton text={output} label={S.console.copyOutput} />
          </span>
        )}
        {entry.ended === null ? (
          <Elapsed since={entry.started} />
        ) : (
          <span className={bad ? "meta bad" : "meta"}>
            {result && <span data-testid="exit">{S.console.exit(result.return_code)}</span>}
            {result && " · "}
            {took(entry.ended - entry.started)}
          </span>
        )}
      </div>
      {stdout && <pre>{stdout}</pre>}
      {stderr && <pre className="err">{stderr}</pre>}
      {result && !stdout && !stderr && !result.reason && <pre className="meta">{S.console.noOutput}</pre>}
      {result?.reason && <pre className="err">{S.console.reasons[result.reason] ?? result.reason.replace(/_/g, " ")}</pre>}
      {result && long && <pre className={bad ? "meta bad" : "meta"}>{S.console.exit(result.return_code)}</pre>}
      {entry.error && <pre className="err">{entry.error}</pre>}
    </div>
  );
}

/** Without colours and cursor movements, which only a terminal understands, and without the last line's end. */
const plain = (text: string): string => text.replace(/\u001b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\))/g, "").replace(/\n$/, "");

function Elapsed({ since }: { since: number }) {
  const now = useNow(250);
  return (
    <span className="meta row">
      <IconLoader2 size={12} className="spin" />
      {took(Math.max(0, now - since))}
    </span>
  );
}
