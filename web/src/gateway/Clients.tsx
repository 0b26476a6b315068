// SPDX-License-Identifier: Apache-2.0
// Clients of all nodes, newest first.

import { Button, CloseButton, Select, Tooltip } from "@mantine/core";
import { useState } from "react";
import { useGatewayClients } from "../api/queries";
import type { GatewayClient, GatewayNode } from "../api/types";
import { CodeLine, Empty, Problem, rowKeys, Since, SkeletonRows } from "../components/bits";
import { withUnit } from "../lib/format";
import { useSettled } from "../lib/hooks";
import { S } from "../strings";
import { enter, Name } from "./Lists";
import { Find, Lacks } from "./parts";

const G = S.gateway.clients;

interface Props {
  nodes: GatewayNode[];
  channel: string;
  setChannel: (channel: string) => void;
  open: (id: string) => void;
}

export function ClientsView({ nodes, channel, setChannel, open }: Props) {
  const [search, setSearch] = useState("");
  const [node, setNode] = useState("");
  const query = useGatewayClients({ search: useSettled(search.trim(), 200), channel, node });
  const clients = query.data?.pages.flatMap((page) => page.clients) ?? [];
  const filtered = search !== "" || channel !== "" || node !== "";
  const clear = () => {
    setSearch("");
    setNode("");
    setChannel("");
  };
  return (
    <section className="card" aria-label={S.gateway.views.clients}>
      <div className="filters">
        <Find label={G.search} value={search} onChange={setSearch} />
        {(nodes.length > 1 || node) && (
          <Select
            aria-label={G.columns.node}
            placeholder={G.allNodes}
            data={nodes.filter((each) => each.number >= 0).map((each) => ({ value: String(each.number), label: S.gateway.node(each.number) }))}
            value={node || null}
            onChange={(value) => setNode(value ?? "")}
            clearable
            w={140}
          />
        )}
        {channel && (
          <span className="chip accent filterchip">
            {G.inChannel} <Name text={channel} />
            <CloseButton size="xs" aria-label={G.anyChannel} onClick={() => setChannel("")} />
          </span>
        )}
        <span className="grow" />
        {clients.length > 0 && !query.hasNextPage && <span className="muted small num hidephone">{G.shown(clients.length)}</span>}
      </div>
      <Lacks silent={query.data?.pages.at(-1)?.silent} error={query.data && query.error} retry={() => void query.refetch()} />
      {query.error && !query.data ? (
        <div style={{ padding: "0 16px 16px" }}>
          <Problem error={query.error} retry={() => void query.refetch()} />
        </div>
      ) : query.isPending ? (
        <div style={{ padding: "0 16px 16px" }}>
          <SkeletonRows rows={6} />
        </div>
      ) : clients.length === 0 ? (
        filtered ? (
          <Empty title={channel ? G.noneInChannel : G.noneFound}>
            {!channel && <p>{G.noneFoundHint}</p>}
            <Button variant="default" onClick={clear}>
              {G.clear}
            </Button>
          </Empty>
        ) : (
          <NoClients nodes={nodes} />
        )
      ) : (
        <div className="tablewrap">
          <table className="grid stackwide" onKeyDown={rowKeys} data-testid="clients">
            <thead>
              <tr>
                <th>{G.columns.id}</th>
                <th>{G.columns.address}</th>
                <th>{G.columns.listener}</th>
                {nodes.length > 1 && <th>{G.columns.node}</th>}
                <th className="end">{G.columns.channels}</th>
                <th className="end">{G.columns.waiting}</th>
                <th className="end">{G.columns.since}</th>
              </tr>
            </thead>
            <tbody>
              {clients.map((client) => (
                <Row key={client.id} client={client} nodes={nodes} open={() => open(client.id)} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {query.hasNextPage && (
        <div className="foot">
          <Button size="compact-sm" variant="subtle" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
            {S.common.loadMore}
          </Button>
        </div>
      )}
    </section>
  );
}

function Row({ client, nodes, open }: { client: GatewayClient; nodes: GatewayNode[]; open: () => void }) {
  const listener = nodes.find((node) => node.number === client.node)?.listeners[client.listener];
  return (
    <tr className="pick" data-row data-client={client.id} tabIndex={0} onClick={open} onKeyDown={enter(open)}>
      <td className="head mono">{client.id}</td>
      <td className="mono nowrap" data-label={G.columns.address}>{client.remote_addr}</td>
      <td className="mono muted nowrap" data-label={G.columns.listener}>
        {listener ? `${listener.listen}${listener.path === "/" ? "" : listener.path}` : client.listener}
      </td>
      {nodes.length > 1 && <td className="nowrap" data-label={G.columns.node}>{S.gateway.node(client.node)}</td>}
      <td className="end" data-label={G.columns.channels}>{client.channels}</td>
      <td className="end nowrap" data-label={G.columns.waiting}>
        <Tooltip label={G.waitingHint}>
          <span className={client.waiting ? "warntext" : "muted"}>{client.waiting ? withUnit(client.waiting, "B") : "0"}</span>
        </Tooltip>
      </td>
      <td className="end nowrap" data-label={G.columns.since}>
        <Since time={client.since} />
      </td>
    </tr>
  );
}

function NoClients({ nodes }: { nodes: GatewayNode[] }) {
  const listener = nodes.flatMap((node) => node.listeners).find((each) => each.entry && each.protocol === "websocket");
  return (
    <Empty title={listener ? G.empty : S.gateway.noEntry.title}>
      <p>{listener ? G.emptyHint : S.gateway.noEntry.text}</p>
      <div style={{ width: "100%", maxWidth: 480 }}>
        <CodeLine code={listener ? G.emptyCommand(listener.listen, listener.path) : S.gateway.noEntry.config} />
      </div>
    </Empty>
  );
}
