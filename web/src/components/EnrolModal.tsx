// SPDX-License-Identifier: Apache-2.0
// A one-time line for a new device, and waiting until it has come.

import { Button, Modal, TextInput } from "@mantine/core";
import { IconCircleCheck, IconLoader2 } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useEffect, useState } from "react";
import { useNavigate } from "react-router";
import { post } from "../api/client";
import { live } from "../api/live";
import type { NewEnrolment } from "../api/types";
import { useNow } from "../lib/hooks";
import { left, ms } from "../lib/time";
import { useSession } from "../session";
import { S } from "../strings";
import { CodeLine, Problem, Segments } from "./bits";

const TTLS = { m15: 900, h1: 3600, h24: 86_400 };
type Ttl = keyof typeof TTLS;

export function EnrolModal({ opened, close }: { opened: boolean; close: () => void }) {
  return (
    <Modal opened={opened} onClose={close} title={<span className="strong">{S.enrol.title}</span>} size={560}>
      {opened && <Enrol close={close} />}
    </Modal>
  );
}

function Enrol({ close }: { close: () => void }) {
  const [name, setName] = useState("");
  const [ttl, setTtl] = useState<Ttl>("m15");
  const [joined, setJoined] = useState<string | null>(null);
  const navigate = useNavigate();
  const { version } = useSession();
  const make = useMutation({
    mutationFn: () => post<NewEnrolment>("/enrolments", { ...(name.trim() ? { name: name.trim() } : {}), ttl_s: TTLS[ttl] }),
  });
  const enrolment = make.data;

  useEffect(() => {
    if (!enrolment) return;
    return live.follow({
      created: (device) => setJoined(device.id ?? ""),
    });
  }, [enrolment]);

  if (!enrolment) {
    const submit = (event: FormEvent) => {
      event.preventDefault();
      make.mutate();
    };
    return (
      <form className="stack" onSubmit={submit}>
        <TextInput
          label={S.enrol.name}
          description={S.enrol.nameHelp}
          value={name}
          maxLength={64}
          data-autofocus
          onChange={(event) => setName(event.currentTarget.value)}
        />
        <div>
          <div className="fieldlabel">{S.enrol.ttl}</div>
          <Segments<Ttl>
            label={S.enrol.ttl}
            value={ttl}
            onChange={setTtl}
            options={(Object.keys(TTLS) as Ttl[]).map((value) => ({ value, label: S.enrol.ttls[value] }))}
          />
        </div>
        <Problem error={make.error} />
        <Button type="submit" loading={make.isPending}>
          {S.enrol.make}
        </Button>
      </form>
    );
  }
  return (
    <div className="stack">
      <div>
        <div className="strong" style={{ marginBottom: 6 }}>1. {S.enrol.step1}</div>
        <CodeLine code={S.devices.installCommand(version)} />
        <p className="muted small" style={{ margin: "6px 0 0" }}>{S.enrol.step1Help}</p>
      </div>
      <div data-testid="enrol-command">
        <div className="strong" style={{ marginBottom: 6 }}>2. {S.enrol.step2}</div>
        <CodeLine code={enrolment.command} wrap />
        <p className="muted small" style={{ margin: "6px 0 0" }}>
          {S.enrol.step2Help} <Expires at={ms(enrolment.expires_at)} />
        </p>
        {/^wss?:\/\/(127\.|localhost|\[::1\])/.test(enrolment.line) && (
          <div style={{ marginTop: 8 }}>
            <Problem tone="warn" error={new Error(S.enrol.loopback)} />
          </div>
        )}
      </div>
      <div>
        <div className="strong" style={{ marginBottom: 6 }}>3. {S.enrol.step3}</div>
        <CodeLine code={S.device.agentCommand} />
        <p className="muted small" style={{ margin: "6px 0 0" }}>{S.enrol.step3Help}</p>
      </div>
      <div className="row wrap" role="status" style={{ minHeight: 36 }}>
        {joined !== null ? (
          <>
            <IconCircleCheck size={18} style={{ color: "var(--tl-good)" }} />
            <span className="grow strong">{S.enrol.joined}</span>
            <Button
              onClick={() => {
                close();
                void navigate(joined ? `/devices/${joined}` : "/devices");
              }}
            >
              {S.enrol.open}
            </Button>
          </>
        ) : (
          <>
            <IconLoader2 size={16} className="spin muted" />
            <span className="muted grow">{S.enrol.waiting}</span>
            <Button variant="default" onClick={() => make.reset()}>
              {S.enrol.another}
            </Button>
          </>
        )}
      </div>
    </div>
  );
}

function Expires({ at }: { at: number }) {
  const now = useNow(1000);
  if (Number.isNaN(at)) return null;
  return at > now ? <span className="num">{S.enrol.expires(left(at - now))}.</span> : <b>{S.enrol.expired}</b>;
}
