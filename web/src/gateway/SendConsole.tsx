// SPDX-License-Identifier: Apache-2.0
// Send and publish by hand, and what became of it.

import { Button, Textarea, TextInput } from "@mantine/core";
import { IconBroadcast, IconRotate, IconSend } from "@tabler/icons-react";
import { type FormEvent, type KeyboardEvent, useState } from "react";
import { ApiError } from "../api/client";
import { type Outgoing, sendOut } from "../api/queries";
import type { GatewaySent } from "../api/types";
import { Card, CodeLine, Empty, Segments } from "../components/bits";
import { useNow } from "../lib/hooks";
import { Kept, useKept } from "../lib/kept";
import { stamp, took } from "../lib/time";
import { S } from "../strings";
import { Name } from "./Lists";

const G = S.gateway.console;
const MOD = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";
const KEPT = 50;

interface Entry extends Outgoing {
  id: number;
  at: number;
  ended: number | null;
  result: GatewaySent | null;
  error: string | null;
}

/** What was sent, and what is being typed, survive going to another page and back. */
const entries = new Kept<Entry[]>([]);
const draft = new Kept<Outgoing>({ how: "publish", to: "", data: "", kind: "text" });
let nextId = 1;

async function send(outgoing: Outgoing): Promise<void> {
  const id = nextId++;
  entries.set([{ ...outgoing, id, at: Date.now(), ended: null, result: null, error: null }, ...entries.get()].slice(0, KEPT));
  const finish = (change: Partial<Entry>) =>
    entries.set(entries.get().map((each) => (each.id === id ? { ...each, ended: Date.now(), ...change } : each)));
  try {
    finish({ result: await sendOut(outgoing) });
  } catch (error) {
    finish({ error: error instanceof ApiError ? error.message : String(error) });
  }
}

const isBase64 = (text: string): boolean => /^[A-Za-z0-9+/]*={0,2}$/.test(text) && text.length % 4 === 0;

function wrong({ how, to, data, kind }: Outgoing): { to?: string; data?: string } {
  const found: { to?: string; data?: string } = {};
  if (!to) found.to = G.needed;
  else if (how === "publish" && /\s/.test(to)) found.to = G.badChannel;
  else if (how === "send" && !/^\d{1,20}$/.test(to)) found.to = G.badClient;
  if (kind === "binary" && !isBase64(data.trim())) found.data = G.badBase64;
  return found;
}

/** `target` is what another view asked for; it is taken once. */
export function SendConsole({ mayAct, target }: { mayAct: boolean; target: Pick<Outgoing, "how" | "to"> | null }) {
  const [form, setForm] = useState<Outgoing>(() => ({ ...draft.get(), ...target }));
  const [tried, setTried] = useState(false);
  const history = useKept(entries);
  const busy = history.some((entry) => entry.ended === null);
  const fill = (next: Outgoing) => {
    setForm(next);
    draft.set(next);
  };
  const change = (part: Partial<Outgoing>) => fill({ ...form, ...part });
  const problems = wrong(form);

  const submit = (event?: FormEvent) => {
    event?.preventDefault();
    setTried(true);
    if (!mayAct || busy || problems.to || problems.data) return;
    setTried(false);
    void send({ ...form, data: form.kind === "binary" ? form.data.trim() : form.data });
  };
  const keys = (event: KeyboardEvent) => {
    if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) submit();
  };

  return (
    <div className="consolegrid">
      <Card title={form.how === "publish" ? G.publish : G.send} icon={form.how === "publish" ? <IconBroadcast size={16} /> : <IconSend size={16} />}>
        <form className="stack" onSubmit={submit} onKeyDown={keys} style={{ paddingTop: 8 }}>
          <Segments<Outgoing["how"]>
            label={G.how}
            value={form.how}
            onChange={(how) => change({ how, to: "" })}
            options={[
              { value: "publish", label: G.publish },
              { value: "send", label: G.send },
            ]}
          />
          <TextInput
            label={form.how === "publish" ? G.channel : G.client}
            value={form.to}
            error={tried && problems.to}
            spellCheck={false}
            autoCapitalize="off"
            autoComplete="off"
            inputMode={form.how === "send" ? "numeric" : "text"}
            onChange={(event) => change({ to: event.currentTarget.value })}
            styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }}
          />
          <Textarea
            label={G.message}
            placeholder={G.messagePlaceholder}
            value={form.data}
            error={(tried || form.data !== "") && problems.data}
            autosize
            minRows={4}
            maxRows={14}
            spellCheck={false}
            onChange={(event) => change({ data: event.currentTarget.value })}
            styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }}
          />
          <div className="row wrap">
            <Segments<Outgoing["kind"]>
              label={G.kind}
              value={form.kind}
              onChange={(kind) => change({ kind })}
              options={[
                { value: "text", label: G.text },
                { value: "binary", label: G.binary },
              ]}
            />
            <span className="grow" />
            <span className="muted small hidephone nowrap">
              <kbd>{MOD}</kbd> <kbd>Enter</kbd> {G.keys}
            </span>
            <Button type="submit" loading={busy} disabled={!mayAct}>
              {G.submit[form.how]}
            </Button>
          </div>
          {!mayAct && <p className="muted small" style={{ margin: 0 }}>{G.noPrivilege}</p>}
        </form>
      </Card>
      <Card
        title={G.history}
        flush
        right={
          history.length > 0 && !busy ? (
            <Button size="compact-sm" variant="subtle" color="gray" onClick={() => entries.set([])}>
              {G.clear}
            </Button>
          ) : undefined
        }
      >
        {history.length === 0 ? (
          <Empty title={G.historyEmpty} small>
            <p>{G.historyHint}</p>
            <div style={{ width: "100%", maxWidth: 520, paddingTop: 4 }}>
              <CodeLine code={command(form)} />
            </div>
          </Empty>
        ) : (
          <ol className="sentlist" role="log" aria-label={G.history}>
            {history.map((entry) => (
              <SentRow key={entry.id} entry={entry} again={() => fill({ how: entry.how, to: entry.to, data: entry.data, kind: entry.kind })} />
            ))}
          </ol>
        )}
      </Card>
    </div>
  );
}

function SentRow({ entry, again }: { entry: Entry; again: () => void }) {
  const now = useNow(1000);
  const { result } = entry;
  return (
    <li data-testid="sent">
      <div className="row">
        {entry.how === "publish" ? <IconBroadcast size={14} className="muted" /> : <IconSend size={14} className="muted" />}
        <Name text={entry.to} />
        <span className="grow" />
        <span className="muted small num nowrap">{stamp(entry.at, now)}</span>
        <Button size="compact-xs" variant="subtle" color="gray" aria-label={G.again} title={G.again} onClick={again}>
          <IconRotate size={14} />
        </Button>
      </div>
      <div className="mono small clamp break said">{entry.data || S.cards.empty}</div>
      <div className="small">
        {entry.ended === null ? (
          <span className="muted">{G.underWay}</span>
        ) : entry.error !== null ? (
          <span className="badtext break">{entry.error}</span>
        ) : result ? (
          <>
            <span className={result.failed || result.silent ? "warntext" : result.sent ? "goodtext" : "muted"} data-testid="counts">
              {G.result(result.sent, result.failed)}
            </span>
            {result.silent > 0 && <span className="warntext"> · {G.silent(result.silent)}</span>}
            <span className="muted">
              {" · "}
              {entry.kind === "binary" ? "binary · " : ""}
              {took(entry.ended - entry.at)}
            </span>
            {result.sent + result.failed + result.silent === 0 && <div className="muted">{G.nobody}</div>}
          </>
        ) : null}
      </div>
    </li>
  );
}

const quoted = (text: string): string => `'${text.replace(/'/g, "'\\''")}'`;

/** The same from a terminal. */
const command = ({ how, to, data, kind }: Outgoing): string =>
  `towline push ${how} ${to ? (/^[\w.:@/-]+$/.test(to) ? to : quoted(to)) : how === "publish" ? "CHANNEL" : "CLIENT"} ${quoted(data.slice(0, 400) || "hello")}${kind === "binary" ? " --binary" : ""}`;
