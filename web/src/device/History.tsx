// SPDX-License-Identifier: Apache-2.0
// What was run on the device, and what its plugins reported.

import { Button } from "@mantine/core";
import { IconBolt, IconHistory } from "@tabler/icons-react";
import { useCommands, useEvents } from "../api/queries";
import type { Command, Plugin } from "../api/types";
import { Card, Empty, Problem, rowKeys, SkeletonRows } from "../components/bits";
import { ValueView } from "../components/ValueView";
import { label } from "../lib/form";
import { useNow } from "../lib/hooks";
import { absolute, ms, stamp, took } from "../lib/time";
import { S } from "../strings";
import { CommandState } from "./CommandDrawer";

export function CommandHistory({ deviceId, plugins, onOpen }: { deviceId: string; plugins: Plugin[]; onOpen: (command: Command) => void }) {
  const query = useCommands(deviceId);
  const now = useNow(1000);
  const commands = query.data?.pages.flatMap((page) => page.commands) ?? [];
  return (
    <Card title={S.commands.history} icon={<IconHistory size={16} />} flush id="section-commands">
      {query.error && !query.data ? (
        <div style={{ padding: 16 }}>
          <Problem error={query.error} retry={() => void query.refetch()} />
        </div>
      ) : query.isPending ? (
        <div style={{ padding: "0 16px 16px" }}>
          <SkeletonRows rows={4} />
        </div>
      ) : commands.length === 0 ? (
        <Empty small title={S.commands.historyEmpty}>
          <p>{S.commands.historyEmptyHint}</p>
        </Empty>
      ) : (
        <div className="tablewrap tall">
          <table className="grid dense" onKeyDown={rowKeys}>
            <thead>
              <tr>
                <th>{S.commands.columns.time}</th>
                <th>{S.commands.columns.command}</th>
                <th>{S.commands.columns.state}</th>
                <th className="hidephone">{S.commands.columns.user}</th>
                <th className="end hidephone">{S.commands.columns.took}</th>
              </tr>
            </thead>
            <tbody>
              {commands.map((command) => (
                <tr
                  key={command.id}
                  className="pick"
                  data-row
                  tabIndex={0}
                  onClick={() => onOpen(command)}
                  onKeyDown={(event) => event.key === "Enter" && onOpen(command)}
                >
                  <td className="muted nowrap" title={absolute(ms(command.created_at))}>
                    {stamp(ms(command.created_at), now)}
                  </td>
                  <td className="break">{commandName(command, plugins)}</td>
                  <td>
                    <CommandState state={command.state} />
                  </td>
                  <td className="muted hidephone">{command.user}</td>
                  <td className="end muted nowrap hidephone">{duration(command)}</td>
                </tr>
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
    </Card>
  );
}

export function commandName(command: Command, plugins: Plugin[]): string {
  const spec = plugins
    .find((plugin) => plugin.app_guid === command.app_guid)
    ?.modules.find((module) => module.moduleName === command.module)
    ?.commands?.find((each) => each.name === command.name);
  return spec ? label(spec) : command.name;
}

function duration(command: Command): string {
  const last = command.steps.at(-1);
  if (!command.final || !last) return S.common.none;
  return took(ms(last.time) - ms(command.created_at));
}

export function EventsCard({ deviceId, plugins }: { deviceId: string; plugins: Plugin[] }) {
  const query = useEvents(deviceId);
  const now = useNow(1000);
  const events = query.data?.pages.flatMap((page) => page.events) ?? [];
  const names = (table: string, source: string, name: string) => {
    const plugin = plugins.find((each) => each.app_name === table);
    const spec = plugin?.modules.find((each) => each.moduleName === source)?.events?.find((each) => each.name === name);
    return { event: spec ? label(spec) : name, plugin: plugin?.display_name || table, help: spec?.description };
  };
  return (
    <Card title={S.events.title} icon={<IconBolt size={16} />} flush id="section-events">
      {query.error && !query.data ? (
        <div style={{ padding: 16 }}>
          <Problem error={query.error} retry={() => void query.refetch()} />
        </div>
      ) : query.isPending ? (
        <div style={{ padding: "0 16px 16px" }}>
          <SkeletonRows rows={4} />
        </div>
      ) : events.length === 0 ? (
        <Empty small title={S.events.empty}>
          <p>{S.events.emptyHint}</p>
        </Empty>
      ) : (
        <div className="tablewrap tall">
          <table className="grid dense stackphone">
            <thead>
              <tr>
                <th>{S.events.columns.time}</th>
                <th>{S.events.columns.event}</th>
                <th>{S.events.columns.value}</th>
                <th className="hidephone">{S.events.columns.source}</th>
              </tr>
            </thead>
            <tbody>
              {events.map((event) => {
                const named = names(event.table, event.source, event.name);
                return (
                  <tr key={`${event.message_id}-${event.name}`}>
                    <td className="muted nowrap when" title={absolute(ms(event.time))}>
                      {stamp(ms(event.time), now)}
                    </td>
                    <td className="nowrap" title={named.help}>
                      {named.event}
                    </td>
                    <td className="break detail">{event.value === null || event.value === "" ? S.common.none : <div className="clamp" title={typeof event.value === "string" ? event.value : undefined}><ValueView value={event.value} /></div>}</td>
                    <td className="muted hidephone">{named.plugin}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
      {query.hasNextPage && (
        <div className="foot">
          <Button size="compact-sm" variant="subtle" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
            {S.events.older}
          </Button>
        </div>
      )}
    </Card>
  );
}
