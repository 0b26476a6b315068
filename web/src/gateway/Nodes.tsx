// SPDX-License-Identifier: Apache-2.0
// The nodes that live, their rates, and their listeners.

import { Tooltip } from "@mantine/core";
import { IconServer2, IconPlugConnected } from "@tabler/icons-react";
import { gatewayHistory } from "../api/queries";
import type { GatewayListener, GatewayNode } from "../api/types";
import { Card, CodeLine, Empty, Since, Skeleton } from "../components/bits";
import { withUnit } from "../lib/format";
import { S } from "../strings";
import { count, perSecond, Spark } from "./parts";

const G = S.gateway;
const WINDOW_MS = 5 * 60_000;

/** Four figures and how they went. */
export function Tiles({ nodes, aside }: { nodes: GatewayNode[] | undefined; aside: boolean }) {
  const total = (pick: (node: GatewayNode) => number | null) =>
    nodes === undefined ? undefined : nodes.reduce((sum, node) => sum + (pick(node) ?? 0), 0);
  const tiles = [
    { name: G.tiles.clients, value: count(total((node) => node.clients)), unit: "", line: gatewayHistory.values("clients") },
    { name: G.tiles.in, value: perSecond(gatewayHistory.rate("messages_in")), unit: G.perSecond, line: gatewayHistory.rates("messages_in") },
    { name: G.tiles.out, value: perSecond(gatewayHistory.rate("frames_out")), unit: G.perSecond, line: gatewayHistory.rates("frames_out") },
    { name: G.tiles.queued, value: count(total((node) => node.queued)), unit: "", line: gatewayHistory.values("queued") },
  ];
  return (
    <section className={aside ? "card tiles hidephone" : "card tiles"} aria-label={G.title}>
      {tiles.map((tile) => (
        <div key={tile.name} className="tile">
          <div className="name">{tile.name}</div>
          <div className="figure num">
            {nodes === undefined ? <Skeleton width={56} height={16} /> : tile.value}
            {tile.unit && nodes !== undefined && tile.value !== S.common.none && <span className="muted">{tile.unit}</span>}
          </div>
          <Spark line={tile.line} label={G.spark(tile.name)} windowMs={WINDOW_MS} />
        </div>
      ))}
    </section>
  );
}

export function NodesView({ nodes }: { nodes: GatewayNode[] }) {
  if (nodes.length === 0) {
    return (
      <section className="card">
        <Empty title={G.nodes.empty}>
          <p>{G.nodes.emptyHint}</p>
          <div style={{ width: "100%", maxWidth: 480 }}>
            <CodeLine code={G.nodes.emptyCommand} />
          </div>
        </Empty>
      </section>
    );
  }
  const listeners = nodes.flatMap((node) => node.listeners.map((listener) => ({ node, listener })));
  const noEntry = nodes.some((node) => node.clients !== null) && listeners.every(({ listener }) => !listener.entry);
  return (
    <div className="stack">
      {noEntry && (
        <section className="card">
          <Empty title={G.noEntry.title}>
            <p>{G.noEntry.text}</p>
            <div style={{ width: "100%", maxWidth: 480 }}>
              <CodeLine code={G.noEntry.config} />
            </div>
          </Empty>
        </section>
      )}
      <Card title={G.nodes.title} icon={<IconServer2 size={16} />} flush>
        <div className="tablewrap">
          <table className="grid stackwide" data-testid="nodes">
            <thead>
              <tr>
                <th>{G.nodes.columns.node}</th>
                <th>{G.nodes.columns.address}</th>
                <th className="end">{G.nodes.columns.clients}</th>
                <th className="end">{G.nodes.columns.links}</th>
                <th className="end">{G.nodes.columns.channels}</th>
                <th className="end">{G.nodes.columns.in}</th>
                <th className="end">{G.nodes.columns.out}</th>
                <th className="end">{G.nodes.columns.lag}</th>
                <th className="end">{G.nodes.columns.memory}</th>
                <th className="end">{G.nodes.columns.up}</th>
              </tr>
            </thead>
            <tbody>
              {nodes.map((node) => (
                <NodeRow key={node.id} node={node} />
              ))}
            </tbody>
          </table>
        </div>
      </Card>
      {listeners.length > 0 && (
        <Card title={G.listeners.title} icon={<IconPlugConnected size={16} />} flush>
          <div className="tablewrap">
            <table className="grid stackwide" data-testid="listeners">
              <thead>
                <tr>
                  <th>{G.listeners.columns.listen}</th>
                  {nodes.length > 1 && <th>{G.listeners.columns.node}</th>}
                  <th>{G.listeners.columns.entry}</th>
                  <th className="end">{G.listeners.columns.clients}</th>
                  <th className="end">{G.listeners.columns.accepted}</th>
                  <th className="end">{G.listeners.columns.messages}</th>
                  <th>{G.listeners.columns.problems}</th>
                </tr>
              </thead>
              <tbody>
                {listeners.map(({ node, listener }) => (
                  <ListenerRow key={`${node.id}/${listener.number}`} node={node} listener={listener} many={nodes.length > 1} />
                ))}
              </tbody>
            </table>
          </div>
        </Card>
      )}
    </div>
  );
}

function NodeRow({ node }: { node: GatewayNode }) {
  const c = G.nodes.columns;
  const lag = node.loop_lag_ms;
  return (
    <tr>
      <td className="head">
        <span className="row">
          <span className="strong nowrap">{G.node(node.number)}</span>
          <span className="muted small nowrap">{node.version}</span>
          {node.clients === null && (
            <Tooltip label={G.nodes.silentHint}>
              <span className="chip warn">{G.nodes.silent}</span>
            </Tooltip>
          )}
          {node.draining && (
            <Tooltip label={G.nodes.drainingHint}>
              <span className="chip warn">{G.nodes.draining}</span>
            </Tooltip>
          )}
          {(node.behind ?? 0) > 0 && (
            <Tooltip label={G.nodes.behindHint}>
              <span className="chip warn">{G.nodes.behind(node.behind ?? 0)}</span>
            </Tooltip>
          )}
        </span>
      </td>
      <td className="mono" data-label={c.address}>{node.api_server ?? S.common.none}</td>
      <td className="end" data-label={c.clients}>{count(node.clients)}</td>
      <td className="end" data-label={c.links}>{count(node.links)}</td>
      <td className="end" data-label={c.channels}>{count(node.channels)}</td>
      <td className="end nowrap" data-label={c.in}>{rate("messages_in", node)}</td>
      <td className="end nowrap" data-label={c.out}>{rate("frames_out", node)}</td>
      <td className="end nowrap" data-label={c.lag}>
        <Tooltip label={G.nodes.lagHint}>
          <span className={lag !== null && lag > 50 ? "warntext" : undefined}>{lag === null ? S.common.none : withUnit(lag, "ms")}</span>
        </Tooltip>
      </td>
      <td className="end nowrap" data-label={c.memory}>
        <Tooltip label={G.nodes.memoryHint}>
          <span>{node.memory_bytes === null ? S.common.none : withUnit(node.memory_bytes, "B")}</span>
        </Tooltip>
      </td>
      <td className="end nowrap" data-label={c.up}>
        <Since time={node.started_at} />
      </td>
    </tr>
  );
}

function rate(counter: string, node: GatewayNode) {
  const value = gatewayHistory.rate(counter, node.id);
  return value === null ? (
    <span className="muted">{S.common.none}</span>
  ) : (
    <span>
      {perSecond(value)}
      <span className="muted">{G.perSecond}</span>
    </span>
  );
}

const told = (counts: Record<string, number>): string =>
  Object.entries(counts)
    .map(([name, n]) => `${name.replace(/_/g, " ")} ${n.toLocaleString("en")}`)
    .join(", ");

function ListenerRow({ node, listener, many }: { node: GatewayNode; listener: GatewayListener; many: boolean }) {
  const c = G.listeners.columns;
  const refused = Object.values(listener.refused).reduce((sum, n) => sum + n, 0);
  const closed = told(listener.closed);
  return (
    <tr>
      <td className="head">
        <span className="mono nowrap">
          {listener.listen}
          {listener.protocol === "websocket" && listener.path !== "/" ? listener.path : ""}
        </span>{" "}
        <span className="muted small nowrap">
          {listener.protocol}
          {listener.tls ? " · TLS" : ""}
        </span>
      </td>
      {many && <td className="nowrap" data-label={c.node}>{G.node(node.number)}</td>}
      <td className="wide" data-label={c.entry} style={{ maxWidth: 320 }}>
        {listener.entry ? (
          <Tooltip label={listener.entry}>
            <span className="mono clip" style={{ display: "block" }}>{short(listener.entry)}</span>
          </Tooltip>
        ) : (
          <span className="muted">{G.listeners.agentsOnly}</span>
        )}
      </td>
      <td className="end" data-label={c.clients}>{count(listener.clients)}</td>
      <td className="end" data-label={c.accepted}>
        <Tooltip label={G.listeners.closedHint(closed || G.listeners.none)}>
          <span>{count(listener.accepted)}</span>
        </Tooltip>
      </td>
      <td className="end" data-label={c.messages}>{count(listener.messages)}</td>
      <td data-label={c.problems}>
        {listener.entry_errors > 0 || refused > 0 ? (
          <span className="row wrap" style={{ gap: 4 }}>
            {listener.entry_errors > 0 && <span className="chip bad">{G.listeners.errors(listener.entry_errors)}</span>}
            {refused > 0 && (
              <Tooltip label={G.listeners.refusedHint(told(listener.refused))}>
                <span className="chip warn">{G.listeners.refused(refused)}</span>
              </Tooltip>
            )}
          </span>
        ) : (
          <span className="muted">{S.common.none}</span>
        )}
      </td>
    </tr>
  );
}

/** The file's name is what tells entries apart; the folder is in the tooltip. */
const short = (entry: string): string => (entry.startsWith("builtin:") ? entry : entry.split("/").slice(-2).join("/"));
