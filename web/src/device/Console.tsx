// SPDX-License-Identifier: Apache-2.0
// The remote shell, one command at a time: output, error output, exit code, how long it took.

import { ActionIcon, Button, Tooltip } from "@mantine/core";
import { IconLoader2, IconTerminal2, IconTrash } from "@tabler/icons-react";
import { type FormEvent, type KeyboardEvent, useEffect, useRef, useState } from "react";
import { ApiError, path, post } from "../api/client";
import type { Device, ExecResult } from "../api/types";
import { Card, CopyButton } from "../components/bits";
import { useNow } from "../lib/hooks";
import { took } from "../lib/time";
import { S } from "../strings";

interface Entry {
  id: number;
  cmd: string;
  started: number;
  ended: number | null;
  result: ExecResult | null;
  error: string | null;
}

/** Logs survive going to another page and back, for as long as this page is open. */
const logs = new Map<string, Entry[]>();
let nextId = 1;

export function Console({ device, mayRun }: { device: Device; mayRun: boolean }) {
  const [entries, setEntries] = useState<Entry[]>(() => logs.get(device.id) ?? []);
  const [text, setText] = useState("");
  const [recall, setRecall] = useState<number | null>(null);
  const running = entries.find((entry) => entry.ended === null);
  const abort = useRef<AbortController | null>(null);
  const log = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLInputElement>(null);
  const form = useRef<HTMLFormElement>(null);
  const online = device.presence.state === "online";
  const enabled = online && mayRun;

  useEffect(() => {
    logs.set(device.id, entries);
    log.current?.scrollTo({ top: log.current.scrollHeight });
    // What was typed stays in view while output pushes it down.
    if (form.current?.contains(document.activeElement)) form.current.scrollIntoView({ block: "nearest" });
  }, [entries, device.id]);

  const run = async (cmd: string) => {
    if (!cmd.trim() || running || !enabled) return;
    const id = nextId++;
    const controller = new AbortController();
    abort.current = controller;
    setText("");
    setRecall(null);
    setEntries((before) => [...before.slice(-49), { id, cmd, started: Date.now(), ended: null, result: null, error: null }]);
    const finish = (change: Partial<Entry>) =>
      setEntries((before) => before.map((entry) => (entry.id === id ? { ...entry, ended: Date.now(), ...change } : entry)));
    try {
      finish({ result: await post<ExecResult>(path(["devices", device.id, "exec"]), { cmd }, { signal: controller.signal }) });
    } catch (error) {
      finish({ error: controller.signal.aborted ? S.console.stopped : error instanceof ApiError ? error.message : String(error) });
    }
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
            <ActionIcon variant="subtle" color="gray" size={28} aria-label={S.console.clear} onClick={() => setEntries([])}>
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
            <Button size="compact-sm" variant="default" h={30} onClick={() => abort.current?.abort()}>
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
