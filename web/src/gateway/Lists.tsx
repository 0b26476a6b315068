// SPDX-License-Identifier: Apache-2.0
// Channels with their subscribers, topics with what waits in them.

import { Button, Tooltip } from "@mantine/core";
import { useState } from "react";
import { useGatewayChannels, useGatewayTopics } from "../api/queries";
import { CodeLine, Empty, Problem, rowKeys, SkeletonRows } from "../components/bits";
import { useSettled } from "../lib/hooks";
import { S } from "../strings";
import { count, Find, Lacks } from "./parts";

const G = S.gateway;

export function ChannelsView(props: { mayAct: boolean; publish: (channel: string) => void; who: (channel: string) => void }) {
  const [search, setSearch] = useState("");
  const query = useGatewayChannels(useSettled(search, 200));
  const { data } = query;
  const most = Math.max(1, ...(data?.channels ?? []).map((channel) => channel.subscribers));
  return (
    <section className="card" aria-label={G.views.channels}>
      <div className="filters">
        <Find label={G.channels.search} value={search} onChange={setSearch} />
      </div>
      <Lacks silent={data?.silent} error={data && query.error} retry={() => void query.refetch()} />
      {query.error && !data ? (
        <div style={{ padding: "0 16px 16px" }}>
          <Problem error={query.error} retry={() => void query.refetch()} />
        </div>
      ) : !data ? (
        <div style={{ padding: "0 16px 16px" }}>
          <SkeletonRows rows={6} />
        </div>
      ) : data.channels.length === 0 ? (
        search ? (
          <Empty title={G.channels.noneFound}>
            <p>{G.channels.noneFoundHint}</p>
            <Button variant="default" onClick={() => setSearch("")}>
              {G.clients.clear}
            </Button>
          </Empty>
        ) : (
          <Empty title={G.channels.empty}>
            <p>{G.channels.emptyHint}</p>
            <div style={{ width: "100%", maxWidth: 480 }}>
              <CodeLine code={G.channels.emptyCode} />
            </div>
          </Empty>
        )
      ) : (
        <div className="tablewrap">
          <table className="grid names" onKeyDown={rowKeys} data-testid="channels">
            <thead>
              <tr>
                <th>{G.channels.columns.name}</th>
                <th className="end">{G.channels.columns.subscribers}</th>
                <th className="end hidephone">{G.channels.columns.nodes}</th>
                <th className="acts" />
              </tr>
            </thead>
            <tbody>
              {data.channels.map((channel) => (
                <tr key={channel.name} className="pick" data-row tabIndex={0} onClick={() => props.who(channel.name)} onKeyDown={enter(() => props.who(channel.name))}>
                  <td>
                    <Name text={channel.name} />
                  </td>
                  <td className="end">
                    <span className="amount">
                      <span className="track" aria-hidden="true">
                        <span className="fill" style={{ width: `${(100 * channel.subscribers) / most}%` }} />
                      </span>
                      {count(channel.subscribers)}
                    </span>
                  </td>
                  <td className="end hidephone">{channel.nodes}</td>
                  <td className="end acts nowrap">
                    {props.mayAct && (
                      <button
                        type="button"
                        className="plain link act"
                        onClick={(event) => {
                          event.stopPropagation();
                          props.publish(channel.name);
                        }}
                      >
                        {G.channels.publish}
                      </button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {data?.more && <p className="listnote">{G.channels.more(data.channels.length)}</p>}
    </section>
  );
}

export function QueuesView() {
  const [search, setSearch] = useState("");
  const query = useGatewayTopics(useSettled(search, 200));
  const { data } = query;
  return (
    <section className="card" aria-label={G.views.queues}>
      <div className="filters">
        <Find label={G.queues.search} value={search} onChange={setSearch} />
      </div>
      <Lacks silent={data?.silent} error={data && query.error} retry={() => void query.refetch()} />
      {query.error && !data ? (
        <div style={{ padding: "0 16px 16px" }}>
          <Problem error={query.error} retry={() => void query.refetch()} />
        </div>
      ) : !data ? (
        <div style={{ padding: "0 16px 16px" }}>
          <SkeletonRows rows={4} />
        </div>
      ) : data.topics.length === 0 ? (
        search ? (
          <Empty title={G.queues.noneFound}>
            <Button variant="default" onClick={() => setSearch("")}>
              {G.clients.clear}
            </Button>
          </Empty>
        ) : (
          <Empty title={G.queues.empty}>
            <p>{G.queues.emptyHint}</p>
            <div className="stack" style={{ width: "100%", maxWidth: 480, gap: 8 }}>
              <CodeLine code={G.queues.emptyCode} />
              <span>{G.queues.emptyTake}</span>
              <CodeLine code={G.queues.emptyCommand} />
            </div>
          </Empty>
        )
      ) : (
        <div className="tablewrap">
          <table className="grid names" data-testid="topics">
            <thead>
              <tr>
                <th>{G.queues.columns.name}</th>
                <th className="end">{G.queues.columns.depth}</th>
                <th className="end">{G.queues.columns.consumers}</th>
                <th className="end hidephone">{G.queues.columns.away}</th>
                <th className="end hidephone">{G.queues.columns.nodes}</th>
              </tr>
            </thead>
            <tbody>
              {data.topics.map((topic) => (
                <tr key={topic.name}>
                  <td>
                    <span className="row">
                      <Name text={topic.name} />
                      {topic.durable && (
                        <Tooltip label={G.queues.durableHint}>
                          <span className="chip accent">{G.queues.durable}</span>
                        </Tooltip>
                      )}
                    </span>
                  </td>
                  <td className="end">{count(topic.depth)}</td>
                  <td className="end nowrap">
                    {topic.consumers === 0 && topic.depth > 0 ? (
                      <Tooltip label={G.queues.nobodyHint}>
                        <span className="chip warn">{G.queues.nobody}</span>
                      </Tooltip>
                    ) : (
                      count(topic.consumers)
                    )}
                  </td>
                  <td className="end hidephone">
                    <Tooltip label={G.queues.awayHint}>
                      <span>{count(topic.away)}</span>
                    </Tooltip>
                  </td>
                  <td className="end hidephone">{topic.nodes}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

/** A name of up to 1024 bytes in one line; the whole of it on hover. */
export function Name({ text }: { text: string }) {
  return (
    <span className="mono clip name" title={text.length > 40 ? text : undefined}>
      {text}
    </span>
  );
}

export const enter = (run: () => void) => (event: React.KeyboardEvent) => {
  if (event.key === "Enter" && event.target === event.currentTarget) {
    event.preventDefault();
    run();
  }
};
