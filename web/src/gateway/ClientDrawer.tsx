// SPDX-License-Identifier: Apache-2.0
// One client: where it came from, what is known of it, what it hears; and to message or disconnect it.

import { Button, Drawer, Modal, Radio } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconSend, IconUnlink } from "@tabler/icons-react";
import { useEffect, useState } from "react";
import { ApiError, path, post } from "../api/client";
import { useChange, useGatewayClient } from "../api/queries";
import type { GatewayClientDetails, Json } from "../api/types";
import { CopyId, Empty, Problem, Since, SkeletonRows } from "../components/bits";
import { JsonValue } from "../components/ValueView";
import { withUnit } from "../lib/format";
import { S } from "../strings";

const G = S.gateway.client;
const SHOWN = 60;

interface Props {
  id: string | null;
  mayAct: boolean;
  close: () => void;
  send: (id: string) => void;
  who: (channel: string) => void;
}

export function ClientDrawer({ id, mayAct, close, send, who }: Props) {
  const [asking, setAsking] = useState(false);
  return (
    <Drawer
      opened={id !== null}
      closeOnEscape={!asking}
      onClose={close}
      position="right"
      size={480}
      title={<span className="strong" style={{ fontSize: 15 }}>{G.title}</span>}
      closeButtonProps={{ "aria-label": S.common.close }}
    >
      {id !== null && (mayAct ? <Details key={id} id={id} close={close} send={send} who={who} asking={asking} ask={setAsking} /> : <p className="muted">{G.forbidden}</p>)}
    </Drawer>
  );
}

type DetailsProps = Omit<Props, "id" | "mayAct"> & { id: string; asking: boolean; ask: (asking: boolean) => void };

function Details({ id, close, send, who, asking, ask }: DetailsProps) {
  const query = useGatewayClient(id);
  useEffect(() => () => ask(false), [ask]);
  if (query.error instanceof ApiError && query.error.status === 404) {
    return (
      <Empty title={G.gone}>
        <p>{G.goneHint}</p>
        <Button variant="default" onClick={close} data-autofocus>
          {S.common.close}
        </Button>
      </Empty>
    );
  }
  const found = query.data;
  return (
    <div className="stack" data-testid="client">
      <CopyId label="" value={id} />
      {query.error && <Problem error={query.error} retry={() => void query.refetch()} {...(found ? { tone: "warn" as const } : {})} />}
      {!found ? (
        !query.error && <SkeletonRows rows={8} />
      ) : (
        <>
          <div className="row">
            <Button leftSection={<IconSend size={15} />} onClick={() => send(id)} data-autofocus>
              {G.send}
            </Button>
            <Button variant="default" leftSection={<IconUnlink size={15} />} onClick={() => ask(true)}>
              {G.disconnect}
            </Button>
          </div>
          <Facts found={found} />
          <section>
            <h3 className="fieldlabel">{G.context}</h3>
            {isEmpty(found.context) && found.omitted.length === 0 ? (
              <p className="muted small" style={{ margin: 0 }}>{G.contextEmpty}</p>
            ) : (
              <div className="resultbox" style={{ maxHeight: 320 }} tabIndex={0}>
                <JsonValue value={found.context} />
              </div>
            )}
            {found.omitted.length > 0 && (
              <p className="muted small break" style={{ margin: "4px 0 0" }}>{G.omitted(found.omitted.join(", "))}</p>
            )}
          </section>
          <section>
            <h3 className="fieldlabel">
              {G.channels} <span className="muted num">{found.channel_count.toLocaleString("en")}</span>
            </h3>
            {found.channels.length === 0 ? (
              <p className="muted small" style={{ margin: 0 }}>{G.channelsEmpty}</p>
            ) : (
              <div className="row wrap" style={{ gap: 4 }}>
                {found.channels.slice(0, SHOWN).map((name) => (
                  <button key={name} type="button" className="plain chip mono channelchip" title={name} onClick={() => who(name)}>
                    <span className="clip">{name}</span>
                  </button>
                ))}
                {found.channel_count > SHOWN && (
                  <span className="muted small">{G.channelsMore(found.channel_count - Math.min(SHOWN, found.channels.length))}</span>
                )}
              </div>
            )}
          </section>
          <Disconnect id={id} opened={asking} close={() => ask(false)} done={close} />
        </>
      )}
    </div>
  );
}

function Facts({ found }: { found: GatewayClientDetails }) {
  const rows: [string, React.ReactNode][] = [
    [G.facts.since, <Since key="s" time={found.since} />],
    [G.facts.address, <span key="a" className="mono">{found.remote_addr}</span>],
    [G.facts.node, S.gateway.node(found.node)],
    [G.facts.listener, <span key="l"><span className="mono">{found.listen}</span> <span className="muted">{found.protocol}</span></span>],
    [G.facts.entry, <span key="e" className="mono">{found.entry || S.common.none}</span>],
    [G.facts.path, <span key="p" className="mono clamp break" title={found.path}>{found.path || S.common.none}</span>],
    [G.facts.agent, <span key="u" className="clamp break" title={found.user_agent}>{found.user_agent || S.common.none}</span>],
    [G.facts.waiting, found.waiting ? <span key="w" className="warntext">{G.waiting(withUnit(found.waiting, "B"))}</span> : G.nothingWaits],
  ];
  return (
    <dl className="facts narrow">
      {rows.map(([name, value]) => [<dt key={`${name}-t`}>{name}</dt>, <dd key={`${name}-d`}>{value}</dd>])}
    </dl>
  );
}

function Disconnect({ id, opened, close, done }: { id: string; opened: boolean; close: () => void; done: () => void }) {
  const [code, setCode] = useState("3020");
  const act = useChange(
    (chosen: number) => post<void>(path(["gateway", "clients", id, "disconnect"]), { code: chosen }),
    "gateway",
  );
  return (
    <Modal opened={opened} onClose={close} title={<span className="strong">{G.disconnectTitle}</span>}>
      <div className="stack">
        <p style={{ margin: 0 }}>{G.disconnectText}</p>
        <Radio.Group value={code} onChange={setCode} aria-label={G.disconnect}>
          <div className="stack" style={{ gap: 8 }}>
            <Radio value="3020" label={G.mayReturn} description={G.mayReturnHint} />
            <Radio value="3520" label={G.stayAway} description={G.stayAwayHint} />
          </div>
        </Radio.Group>
        <Problem error={act.error} />
        <div className="row" style={{ justifyContent: "flex-end" }}>
          <Button variant="default" onClick={close} data-autofocus>
            {S.common.cancel}
          </Button>
          <Button
            color="red"
            loading={act.isPending}
            onClick={() =>
              act.mutate(Number(code), {
                onSuccess: () => {
                  notifications.show({ message: G.disconnected });
                  close();
                  done();
                },
              })
            }
          >
            {G.disconnect}
          </Button>
        </div>
      </div>
    </Modal>
  );
}

const isEmpty = (value: Json): boolean => value !== null && typeof value === "object" && Object.keys(value).length === 0;
