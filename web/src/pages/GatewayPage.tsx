// SPDX-License-Identifier: Apache-2.0
// The gateway: nodes and listeners, clients, channels, topics, and a console to send and publish.

import { useMemo, useState } from "react";
import { useSearchParams } from "react-router";
import { type Outgoing, useGateway } from "../api/queries";
import { Problem, SkeletonRows } from "../components/bits";
import { type PaletteItem, usePaletteItems } from "../components/paletteItems";
import { ClientDrawer } from "../gateway/ClientDrawer";
import { ClientsView } from "../gateway/Clients";
import { ChannelsView, QueuesView } from "../gateway/Lists";
import { NodesView, Tiles } from "../gateway/Nodes";
import { type View, VIEWS } from "../gateway/parts";
import { SendConsole } from "../gateway/SendConsole";
import { useTitle } from "../lib/hooks";
import { useMay } from "../session";
import { S } from "../strings";

const G = S.gateway;

export default function GatewayPage() {
  useTitle(G.title);
  const [params, setParams] = useSearchParams();
  const asked = params.get("view") as View | null;
  const view: View = asked && VIEWS.includes(asked) ? asked : "nodes";
  const mayAct = useMay()("manage_gateway");
  const query = useGateway();
  const nodes = query.data;
  const [target, setTarget] = useState<Pick<Outgoing, "how" | "to"> | null>(null);

  const go = useMemo(
    () =>
      (to: View, more: Record<string, string> = {}) =>
        setParams({ ...(to === "nodes" ? {} : { view: to }), ...more }),
    [setParams],
  );
  const write = (how: Outgoing["how"], to: string) => {
    setTarget({ how, to });
    go("console");
  };
  const set = (name: string, value: string) =>
    setParams((before) => {
      const next = new URLSearchParams(before);
      if (value) next.set(name, value);
      else next.delete(name);
      return next;
    });
  const items = useMemo<PaletteItem[]>(
    () => VIEWS.map((each) => ({ id: `gateway-${each}`, group: "pages", label: G.goTo[each], run: () => go(each) })),
    [go],
  );
  usePaletteItems(items);

  return (
    <>
      <div className="pagehead">
        <h1>{G.title}</h1>
      </div>
      {query.error && nodes && (
        <div style={{ marginBottom: 12 }}>
          <Problem error={query.error} tone="warn" title={G.stale} retry={() => void query.refetch()} />
        </div>
      )}
      {query.error && !nodes ? (
        <Problem error={query.error} retry={() => void query.refetch()} />
      ) : (
        <>
          <Tiles nodes={nodes} aside={view !== "nodes"} />
          <div className="sections flat">
            <nav aria-label={G.title}>
              {VIEWS.map((each) => (
                <button key={each} type="button" className={each === view ? "active" : ""} aria-current={each === view ? "page" : undefined} onClick={() => go(each)}>
                  {G.views[each]}
                </button>
              ))}
            </nav>
          </div>
          {nodes === undefined ? (
            <section className="card" style={{ padding: 16 }}>
              <SkeletonRows rows={5} />
            </section>
          ) : view === "nodes" ? (
            <NodesView nodes={nodes} />
          ) : view === "clients" ? (
            <ClientsView
              nodes={nodes}
              channel={params.get("channel") ?? ""}
              setChannel={(channel) => set("channel", channel)}
              open={(id) => set("client", id)}
            />
          ) : view === "channels" ? (
            <ChannelsView mayAct={mayAct} publish={(channel) => write("publish", channel)} who={(channel) => go("clients", { channel })} />
          ) : view === "queues" ? (
            <QueuesView />
          ) : (
            <SendConsole mayAct={mayAct} target={target} />
          )}
        </>
      )}
      <ClientDrawer
        id={params.get("client")}
        mayAct={mayAct}
        close={() => set("client", "")}
        send={(id) => write("send", id)}
        who={(channel) => go("clients", { channel })}
      />
    </>
  );
}
