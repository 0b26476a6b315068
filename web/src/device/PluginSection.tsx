// SPDX-License-Identifier: Apache-2.0
// What one plugin declares, as cards: charts, states, properties, commands, by module and display category.

import { Button, Tooltip } from "@mantine/core";
import { IconChartLine, IconGauge, IconListDetails, IconPlayerPlay, IconTemperature } from "@tabler/icons-react";
import { Fragment, type ReactNode, useMemo } from "react";
import type { CommandSpec, Device, MetricSpec, Module, Plugin, State } from "../api/types";
import { Boundary } from "../components/Boundary";
import { Card, PresenceSign, Segments, Since, SkeletonRows } from "../components/bits";
import { Chart, type Line, type Zoom } from "../components/Chart";
import { isWide, ValueView } from "../components/ValueView";
import { commandShows, label } from "../lib/form";
import { countsBytes, temperature, type TemperatureUnit } from "../lib/format";
import { useNow } from "../lib/hooks";
import { useTemperatureUnit } from "../lib/preferences";
import { seriesKey, type SeriesStore } from "../lib/store";
import { absolute, ago, ms } from "../lib/time";
import { S } from "../strings";

const HIDDEN = new Set(["displayOn", "valueFromProperty"]);
const MOST_LINES = 8;

export interface ChartContext {
  store: SeriesStore;
  zoom: Zoom | null;
  onZoom: (zoom: Zoom | null) => void;
}

interface Props {
  device: Device;
  plugin: Plugin;
  states: State[] | undefined;
  charts: ChartContext;
  onCommand: (plugin: Plugin, module: Module, command: CommandSpec) => void;
}

export function PluginSection({ device, plugin, states, charts, onCommand }: Props) {
  // Of a device that is away nothing is known about its plugins either.
  const away = device.presence.state !== "online";
  const several = plugin.modules.length > 1;
  const parts = plugin.modules.map((module) => ({ module, ...cardsOf(module) }));
  const nothing = parts.every((part) => !part.metrics.length && !part.states.length && !part.properties.length && !part.commands.length);
  return (
    <section className="pluginsection" id={sectionId(plugin)} aria-label={plugin.display_name || plugin.app_name}>
      <div className="pluginhead">
        <h2>{plugin.display_name || plugin.app_name}</h2>
        <Tooltip label={away ? S.plugin.awayHint : plugin.online ? absolute(ms(plugin.since)) : S.plugin.offlineHint} multiline maw={320}>
          <span className={`presence small ${plugin.online && !away ? "online" : "offline"}`}>
            <PresenceSign state={away ? "never" : plugin.online ? "online" : "offline"} size={8} />
            {away ? S.plugin.away : plugin.online ? S.plugin.online : S.plugin.offline}
            {!away && (
              <span className="muted num">
                <Since time={plugin.since} />
              </span>
            )}
          </span>
        </Tooltip>
        <span className="muted small">
          <span className="mono">{plugin.app_name}</span> {S.plugin.version(plugin.version)}
        </span>
      </div>
      {nothing && <p className="muted">{S.plugin.empty}</p>}
      {parts.map(({ module, metrics, properties, states: declared, commands }) => {
        const side: ReactNode[] = [];
        if (declared.length) {
          side.push(
            <StatesCard key="s" plugin={plugin} module={module} specs={declared} states={states} stale={!plugin.online || away} />,
          );
        }
        if (commands.length) {
          side.push(<CommandsCard key="c" commands={commands} onRun={(command) => onCommand(plugin, module, command)} />);
        }
        if (properties.length) side.push(<PropertiesCard key="p" module={module} />);
        return (
          <Fragment key={module.moduleName}>
            {several && (
              <div className="modulehead" title={module.description}>
                {label({ name: module.moduleName, ...(module.displayName ? { displayName: module.displayName } : {}) })}
              </div>
            )}
            {metrics.length ? (
              <div className={side.length ? "split" : undefined}>
                <div className="charts">
                  {withData(metrics, plugin, module, charts.store).map((group) => (
                    <ChartCard key={group.id} group={group} plugin={plugin} module={module} context={charts} deviceId={device.id} />
                  ))}
                </div>
                {side.length > 0 && <div className="side">{side}</div>}
              </div>
            ) : (
              <div className="masonry">{side}</div>
            )}
          </Fragment>
        );
      })}
    </section>
  );
}

export const sectionId = (plugin: Plugin): string => `plugin-${plugin.app_guid}`;

interface MetricGroup {
  id: string;
  title: string;
  unit: string;
  temperature: boolean;
  specs: MetricSpec[];
}

function cardsOf(module: Module) {
  return {
    metrics: metricGroups(module.metrics ?? []),
    states: module.states ?? [],
    properties: (module.properties ?? []).filter((property) => !HIDDEN.has(property.displayType ?? "")),
    commands: (module.commands ?? []).filter((command) => commandShows(command, module)),
  };
}

/** A chart for each category and unit, of at most eight lines. */
function metricGroups(metrics: MetricSpec[]): MetricGroup[] {
  const groups = new Map<string, MetricGroup>();
  for (const metric of metrics) {
    const isTemperature = metric.displayType === "temperature";
    const unit = isTemperature ? "K" : (metric.displayUnit ?? "");
    const category = metric.displayCategory ?? "";
    const base = `${category}\u0000${unit}\u0000${isTemperature}`;
    let n = 0;
    while ((groups.get(`${base}${n}`)?.specs.length ?? 0) >= MOST_LINES) n += 1;
    const id = `${base}${n}`;
    const group = groups.get(id) ?? { id, title: category, unit, temperature: isTemperature, specs: [] };
    group.specs.push(metric);
    groups.set(id, group);
  }
  const all = [...groups.values()];
  const titles = all.map((group) => group.title);
  for (const group of all) {
    const alone = group.specs.length === 1 ? label(group.specs[0]!) : "";
    const twins = titles.filter((title) => title === group.title).length > 1;
    if (!group.title) group.title = alone || S.cards.metrics;
    else if (alone && twins) group.title = alone;
  }
  return all;
}

/** A metric that has no value yet (no such sensor, perhaps) stands last. */
function withData(groups: MetricGroup[], plugin: Plugin, module: Module, store: SeriesStore): MetricGroup[] {
  const has = (group: MetricGroup) => group.specs.some((spec) => store.get(seriesKey(plugin.app_name, module.moduleName, spec.name)).t.length);
  return store.loaded ? [...groups.filter(has), ...groups.filter((group) => !has(group))] : groups;
}

interface ChartCardProps {
  group: MetricGroup;
  plugin: Plugin;
  module: Module;
  context: ChartContext;
  deviceId: string;
}

function ChartCard({ group, plugin, module, context, deviceId }: ChartCardProps) {
  const [preferred, prefer] = useTemperatureUnit();
  const lines = useMemo<Line[]>(
    () =>
      group.specs.map((spec) => ({
        key: seriesKey(plugin.app_name, module.moduleName, spec.name),
        label: label(spec),
        description: spec.description,
      })),
    [group, plugin.app_name, module.moduleName],
  );
  const convert = useMemo(
    () => (group.temperature ? (kelvin: number) => temperature(kelvin, preferred) : (value: number) => value),
    [group.temperature, preferred],
  );
  const unit = group.temperature ? `°${preferred}` : group.unit;
  return (
    <Card
      title={group.title}
      icon={group.temperature ? <IconTemperature size={16} /> : <IconChartLine size={16} />}
      flush
      label={S.charts.chart(group.title)}
      right={
        group.temperature ? (
          <Segments<TemperatureUnit>
            small
            label={S.charts.unitChoice}
            value={preferred}
            onChange={prefer}
            options={[
              { value: "C", label: "°C" },
              { value: "F", label: "°F" },
            ]}
          />
        ) : (
          <span className="muted small">{countsBytes(unit) ? "" : unit}</span>
        )
      }
    >
      <Boundary title={S.charts.failed}>
        <Chart name={group.title} lines={lines} unit={unit} convert={convert} syncKey={deviceId} {...context} />
      </Boundary>
    </Card>
  );
}

function byCategory<I extends { displayCategory?: string }>(items: I[]): [string, I[]][] {
  const groups = new Map<string, I[]>();
  for (const item of items) {
    const category = item.displayCategory ?? "";
    groups.set(category, [...(groups.get(category) ?? []), item]);
  }
  return [...groups];
}

/** A heading for each category when there is more than one. */
function Categories<I extends { displayCategory?: string }>({ items, children }: { items: I[]; children: (items: I[]) => ReactNode }) {
  const groups = byCategory(items);
  return (
    <>
      {groups.map(([category, group]) => (
        <Fragment key={category}>
          {groups.length > 1 && category && <div className="category">{category}</div>}
          {children(group)}
        </Fragment>
      ))}
    </>
  );
}

interface StatesProps {
  plugin: Plugin;
  module: Module;
  specs: NonNullable<Module["states"]>;
  states: State[] | undefined;
  stale: boolean;
}

function StatesCard({ plugin, module, specs, states, stale }: StatesProps) {
  const now = useNow(1000);
  const found = (name: string) =>
    states?.find((state) => state.app_guid === plugin.app_guid && state.source === module.moduleName && state.field === name);
  return (
    <Card title={S.cards.states} icon={<IconGauge size={16} />}>
      {states === undefined ? (
        <SkeletonRows rows={specs.length} />
      ) : (
        <Categories items={specs}>
          {(items) => (
            <dl className="facts" data-testid="states">
              {items.map((spec) => {
                const state = found(spec.name);
                const wide = isWide(state?.value);
                const at = ms(state?.time);
                return (
                  <Fragment key={spec.name}>
                    <dt className={wide ? "wide" : undefined} title={spec.description}>
                      {label(spec)}
                      {wide && state && <Age at={at} now={now} stale={stale} />}
                    </dt>
                    <dd className={wide ? "wide" : undefined}>
                      <ValueView value={state?.value} type={spec.displayType} />
                      {!wide && state && <Age at={at} now={now} stale={stale} />}
                    </dd>
                  </Fragment>
                );
              })}
            </dl>
          )}
        </Categories>
      )}
    </Card>
  );
}

function Age({ at, now, stale }: { at: number; now: number; stale: boolean }) {
  if (Number.isNaN(at)) return null;
  return (
    <span className={stale ? "age old" : "age"} title={absolute(at)}>
      {stale ? `${S.cards.lastKnown}, ` : ""}
      {ago(at, now)}
    </span>
  );
}

function PropertiesCard({ module }: { module: Module }) {
  const items = (module.properties ?? []).filter((property) => !HIDDEN.has(property.displayType ?? ""));
  return (
    <Card title={S.cards.properties} icon={<IconListDetails size={16} />}>
      <Categories items={items}>
        {(group) => (
          <dl className="facts" data-testid="properties">
            {group.map((property) => {
              const value = property.value ?? (property.displayType === "string" ? "" : undefined);
              const wide = isWide(value);
              return (
                <Fragment key={property.name}>
                  <dt className={wide ? "wide" : undefined} title={property.description}>
                    {label(property)}
                  </dt>
                  <dd className={wide ? "wide" : undefined}>
                    <ValueView value={value} type={property.displayType} />
                  </dd>
                </Fragment>
              );
            })}
          </dl>
        )}
      </Categories>
    </Card>
  );
}

function CommandsCard({ commands, onRun }: { commands: CommandSpec[]; onRun: (command: CommandSpec) => void }) {
  return (
    <Card title={S.cards.commands} icon={<IconPlayerPlay size={16} />}>
      <Categories items={commands}>
        {(group) =>
          group.map((command) => (
            <div className="commandrow" key={command.name}>
              <div className="grow">
                <div className="name break">{label(command)}</div>
                {command.description && <div className="help break">{command.description}</div>}
              </div>
              <Button size="compact-sm" variant="default" h={28} px={12} onClick={() => onRun(command)} aria-label={`${S.commands.run} ${label(command)}`}>
                {S.commands.run}
              </Button>
            </div>
          ))
        }
      </Categories>
    </Card>
  );
}
