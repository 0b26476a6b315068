// SPDX-License-Identifier: Apache-2.0
// One device: who it is, how it is, what its plugins show and can do.

import { ActionIcon, Button, Menu, Modal, TextInput } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconChevronRight, IconCopy, IconDots, IconPencil, IconPlugConnected, IconTrash, IconZoomReset } from "@tabler/icons-react";
import { type FormEvent, useCallback, useEffect, useMemo, useState } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { ApiError } from "../api/client";
import { useDeleteDevice, useDevice, useLive, usePlugins, useRenameDevice, useStates } from "../api/queries";
import type { Command, Device, Plugin } from "../api/types";
import { Boundary } from "../components/Boundary";
import { CodeLine, CopyId, Empty, PresencePill, PresenceSign, Problem, Segments, Skeleton, SkeletonRows, writeClipboard } from "../components/bits";
import type { Zoom } from "../components/Chart";
import { CommandDrawer, type Target } from "../device/CommandDrawer";
import { Console } from "../device/Console";
import { CommandHistory, EventsCard } from "../device/History";
import { PluginSection, sectionId } from "../device/PluginSection";
import { useSeries } from "../device/useSeries";
import { commandShows, label } from "../lib/form";
import { hostOf } from "../lib/format";
import { useTitle } from "../lib/hooks";
import { type Range, RANGES, useRange } from "../lib/preferences";
import { clock, ms } from "../lib/time";
import { useMay, useSession } from "../session";
import { S } from "../strings";
import { usePaletteItems } from "../components/paletteItems";

export default function DevicePage() {
  const { id = "" } = useParams();
  const device = useDevice(id);
  useTitle(device.data?.name ?? "");
  if (device.error instanceof ApiError && device.error.status === 404) {
    return (
      <div className="card">
        <Empty title={S.device.notFound}>
          <p>{S.errors.notFoundHint}</p>
          <p className="mono small">{id}</p>
          <Button component={Link} to="/devices" variant="default">
            {S.errors.toDevices}
          </Button>
        </Empty>
      </div>
    );
  }
  if (device.error && !device.data) return <Problem error={device.error} retry={() => void device.refetch()} />;
  if (!device.data) return <Waiting />;
  return <Loaded key={id} device={device.data} />;
}

/** Skeletons in the final layout. */
function Waiting() {
  return (
    <div aria-busy="true">
      <div className="stack" style={{ gap: 14, marginBottom: 24 }}>
        <Skeleton width={110} />
        <Skeleton width={260} height={22} />
        <Skeleton width={420} />
      </div>
      <WaitingCards />
    </div>
  );
}

function WaitingCards() {
  return (
    <div className="split" aria-busy="true" style={{ marginBottom: 24 }}>
      <div className="charts">
        {[0, 1, 2, 3].map((n) => (
          <div className="card" key={n} style={{ height: 274 }} />
        ))}
      </div>
      <div className="card">
        <div className="body" style={{ padding: 16 }}>
          <SkeletonRows rows={7} />
        </div>
      </div>
    </div>
  );
}

function Loaded({ device }: { device: Device }) {
  const plugins = usePlugins(device.id);
  const states = useStates(device.id);
  const [range, setRange] = useRange(ms(device.created_at));
  const [zoom, setZoom] = useState<Zoom | null>(null);
  const series = useSeries(device.id, range, zoom);
  const [target, setTarget] = useState<Target | null>(null);
  const [commandId, setCommandId] = useState<string | null>(null);
  const may = useMay();
  const mayControl = may("control_devices");

  const run = useCallback((plugin: Plugin, module: Target["module"], command: Target["command"]) => {
    setCommandId(null);
    setTarget({ plugin, module, command });
  }, []);
  const open = (command: Command) => {
    const plugin = plugins.data?.find((each) => each.app_guid === command.app_guid);
    const module = plugin?.modules.find((each) => each.moduleName === command.module);
    const spec = module?.commands?.find((each) => each.name === command.name);
    setTarget(plugin && module && spec ? { plugin, module, command: spec } : null);
    setCommandId(command.id);
  };
  const close = () => {
    setTarget(null);
    setCommandId(null);
  };

  usePaletteItems(
    useMemo(
      () => [
        ...(plugins.data ?? []).flatMap((plugin) =>
          plugin.modules.flatMap((module) =>
            (module.commands ?? [])
              .filter((command) => commandShows(command, module))
              .map((command) => ({
                id: `command/${plugin.app_guid}/${module.moduleName}/${command.name}`,
                group: "commands" as const,
                label: label(command),
                hint: plugin.display_name || plugin.app_name,
                run: () => run(plugin, module, command),
              })),
          ),
        ),
        { id: "console", group: "commands" as const, label: S.palette.openConsole, hint: device.name, run: () => goTo("section-console") },
        { id: "copy-device", group: "actions" as const, label: S.palette.copyDevice, hint: device.id, run: () => void writeClipboard(device.id) },
      ],
      [plugins.data, run, device.name, device.id],
    ),
  );

  const list = useMemo(() => [...(plugins.data ?? [])].sort(byRichness), [plugins.data]);
  const hasCharts = list.some((plugin) => plugin.modules.some((module) => module.metrics?.length));
  const sections = [
    ...list.map((plugin) => ({
      id: sectionId(plugin),
      label: plugin.display_name || plugin.app_name,
      online: plugin.online,
    })),
    { id: "section-activity", label: `${S.device.sections.commands} & ${S.device.sections.events.toLowerCase()}`, online: null },
    { id: "section-console", label: S.device.sections.console, online: null },
  ];
  return (
    <>
      <Head device={device} />
      <div className="sections">
        <SectionNav sections={sections} />
        {hasCharts && (
          <div className="ranges row">
            {zoom ? (
              <Button size="compact-sm" variant="light" leftSection={<IconZoomReset size={14} />} onClick={() => setZoom(null)} data-testid="back-to-live">
                <span className="num">
                  {clock(zoom.from, true)}–{clock(zoom.to, true)}
                </span>
                <span className="hidephone">&nbsp;· {S.charts.backToLive}</span>
              </Button>
            ) : (
              <Segments<Range>
                small
                label={S.charts.range}
                value={range}
                onChange={setRange}
                options={(Object.keys(RANGES) as Range[]).map((value) => ({ value, label: S.charts.ranges[value] }))}
              />
            )}
            <LiveSign />
          </div>
        )}
      </div>
      {series.error ? (
        <div style={{ marginBottom: 12 }}>
          <Problem title={S.charts.loadFailed} error={series.error} />
        </div>
      ) : null}
      {series.truncated && (
        <div style={{ marginBottom: 12 }}>
          <Problem tone="warn" error={new Error(S.charts.truncated)} />
        </div>
      )}
      {plugins.error && !plugins.data ? <Problem error={plugins.error} retry={() => void plugins.refetch()} /> : null}
      {plugins.isPending && <WaitingCards />}
      {plugins.data?.length === 0 && (
        <div className="card" style={{ marginBottom: 16 }}>
          <Empty
            title={device.presence.state === "never" ? S.device.neverTitle : S.device.noPlugins}
            icon={<IconPlugConnected size={28} />}
          >
            <p>{device.presence.state === "never" ? S.device.neverText : S.device.noPluginsText}</p>
            {device.presence.state === "never" && (
              <div style={{ width: "100%", maxWidth: 300 }}>
                <CodeLine code={S.device.agentCommand} />
              </div>
            )}
          </Empty>
        </div>
      )}
      {list.map((plugin) => (
        <Boundary key={plugin.app_guid}>
          <PluginSection
            device={device}
            plugin={plugin}
            states={states.data}
            charts={{ store: series.store, zoom, onZoom: setZoom }}
            onCommand={run}
          />
        </Boundary>
      ))}
      <div className="pair pluginsection" id="section-activity">
        <Boundary>
          <CommandHistory deviceId={device.id} plugins={list} onOpen={open} />
        </Boundary>
        <Boundary>
          <EventsCard deviceId={device.id} plugins={list} />
        </Boundary>
      </div>
      <div className="pluginsection">
        <Boundary>
          <Console device={device} mayRun={mayControl} />
        </Boundary>
      </div>
      <CommandDrawer device={device} target={target} commandId={commandId} mayRun={mayControl} onClose={close} onShow={setCommandId} />
    </>
  );
}

const metricsOf = (plugin: Plugin): number => plugin.modules.reduce((sum, module) => sum + (module.metrics?.length ?? 0), 0);

/** What has most to show comes first, and the order does not change from one visit to the next. */
function byRichness(a: Plugin, b: Plugin): number {
  return metricsOf(b) - metricsOf(a) || (a.display_name || a.app_name).localeCompare(b.display_name || b.app_name);
}

/** A link's base is not the page, so that anchors are scrolled to by hand. */
function goTo(id: string): void {
  const element = document.getElementById(id);
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  element?.closest(".pluginsection")?.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
  if (id === "section-console") window.setTimeout(() => element?.querySelector("input")?.focus({ preventScroll: true }), 350);
}

function LiveSign() {
  const { status } = useLive();
  const lost = status !== "live";
  return (
    <span className={lost ? "livedot lost" : "livedot"}>
      <i />
      {status === "connecting" ? S.live.connecting : lost ? S.live.lost : S.live.live}
    </span>
  );
}

function SectionNav({ sections }: { sections: { id: string; label: string; online: boolean | null }[] }) {
  const [active, setActive] = useState(sections[0]?.id ?? "");
  const ids = sections.map((section) => section.id).join();
  useEffect(() => {
    const follow = () => {
      let found = ids.split(",")[0] ?? "";
      for (const id of ids.split(",")) {
        const box = document.getElementById(id)?.getBoundingClientRect();
        if (box && box.top < 190) found = id;
      }
      const end = window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 4;
      setActive(end && window.scrollY > 0 ? (ids.split(",").at(-1) ?? found) : found);
    };
    follow();
    window.addEventListener("scroll", follow, { passive: true });
    return () => window.removeEventListener("scroll", follow);
  }, [ids]);
  return (
    <nav aria-label="Sections">
      {sections.map((section) => (
        <button key={section.id} type="button" className={active === section.id ? "active" : undefined} onClick={() => goTo(section.id)}>
          {section.online === false && (
            <span className="presence offline" title={S.plugin.offlineHint}>
              <PresenceSign state="offline" size={8} />
            </span>
          )}
          <span className="clip" title={section.label}>{section.label}</span>
        </button>
      ))}
    </nav>
  );
}

function Head({ device }: { device: Device }) {
  const { workgroup } = useSession();
  const may = useMay();
  const [renaming, setRenaming] = useState(false);
  const [deleting, setDeleting] = useState(false);
  const { agent } = device;
  const address = hostOf(agent.address);
  const facts = [
    agent.hostname && agent.hostname !== device.name ? agent.hostname : "",
    agent.os,
    [agent.platform && !agent.os.toLowerCase().includes(agent.platform.toLowerCase()) ? agent.platform : "", agent.arch].filter(Boolean).join(" "),
    address,
    agent.version && S.device.facts.agent(agent.version),
    device.group !== "default" ? device.group : "",
  ].filter(Boolean);
  return (
    <>
      <nav className="crumbs" aria-label="Breadcrumb">
        <Link to="/devices" className="link">
          {S.devices.title}
        </Link>
        <IconChevronRight size={13} />
        <span className="clip">{device.name}</span>
      </nav>
      <div className="devicehead">
        <div className="grow">
          <div className="row wrap" style={{ columnGap: 12 }}>
            <h1>{device.name}</h1>
            <PresencePill presence={device.presence} />
          </div>
          <div className="factline">
            {facts.map((fact) => (
              <span key={fact} className={fact === address ? "mono" : undefined}>
                <span className="clip">{fact}</span>
              </span>
            ))}
          </div>
          <div className="row wrap" style={{ gap: "2px 18px", marginTop: 4 }}>
            <CopyId label={S.device.deviceId} value={device.id} />
            <CopyId label={S.device.workgroupId} value={workgroup.id} />
          </div>
          {device.flags?.includes("duplicate_key") && (
            <div style={{ marginTop: 8 }}>
              <Problem tone="warn" error={new Error(S.devices.duplicate)} />
            </div>
          )}
        </div>
        {may("manage_devices") && (
          <Menu position="bottom-end">
            <Menu.Target>
              <ActionIcon variant="default" size={34} aria-label={S.device.actions}>
                <IconDots size={17} />
              </ActionIcon>
            </Menu.Target>
            <Menu.Dropdown>
              <Menu.Item leftSection={<IconPencil size={15} />} onClick={() => setRenaming(true)}>
                {S.device.rename}
              </Menu.Item>
              <Menu.Item leftSection={<IconCopy size={15} />} onClick={() => void writeClipboard(device.cn)}>
                {S.common.copy} <span className="mono small">CN</span>
              </Menu.Item>
              <Menu.Divider />
              <Menu.Item color="red" leftSection={<IconTrash size={15} />} onClick={() => setDeleting(true)}>
                {S.device.remove}
              </Menu.Item>
            </Menu.Dropdown>
          </Menu>
        )}
      </div>
      <RenameModal device={device} opened={renaming} close={() => setRenaming(false)} />
      <DeleteModal device={device} opened={deleting} close={() => setDeleting(false)} />
    </>
  );
}

function RenameModal({ device, opened, close }: { device: Device; opened: boolean; close: () => void }) {
  const rename = useRenameDevice(device.id);
  const [name, setName] = useState(device.name);
  useEffect(() => setName(device.name), [device.name, opened]);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    rename.mutate(name.trim(), {
      onSuccess: () => {
        notifications.show({ message: S.device.renamed });
        close();
      },
    });
  };
  return (
    <Modal opened={opened} onClose={close} title={S.device.rename}>
      <form className="stack" onSubmit={submit}>
        <TextInput label={S.common.name} value={name} onChange={(e) => setName(e.currentTarget.value)} data-autofocus maxLength={64} />
        <Problem error={rename.error} />
        <Button type="submit" loading={rename.isPending} disabled={!name.trim() || name.trim() === device.name}>
          {S.common.save}
        </Button>
      </form>
    </Modal>
  );
}

function DeleteModal({ device, opened, close }: { device: Device; opened: boolean; close: () => void }) {
  const remove = useDeleteDevice(device.id);
  const navigate = useNavigate();
  const [typed, setTyped] = useState("");
  useEffect(() => setTyped(""), [opened]);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    remove.mutate(undefined, {
      onSuccess: () => {
        notifications.show({ message: `${S.device.removed}: ${device.name}` });
        void navigate("/devices");
      },
    });
  };
  return (
    <Modal opened={opened} onClose={close} title={<span className="strong break">{S.device.removeTitle(device.name)}</span>}>
      <form className="stack" onSubmit={submit}>
        <p style={{ margin: 0 }}>{S.device.removeText}</p>
        <TextInput label={S.device.removeType(device.name)} value={typed} onChange={(e) => setTyped(e.currentTarget.value)} data-autofocus />
        <Problem error={remove.error} />
        <Button type="submit" color="red" loading={remove.isPending} disabled={typed !== device.name}>
          {S.device.remove}
        </Button>
      </form>
    </Modal>
  );
}

