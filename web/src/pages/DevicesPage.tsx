// SPDX-License-Identifier: Apache-2.0
// All devices: live presence, search, filters; compact rows, cards on a phone.

import { Button, CloseButton, Select, TextInput } from "@mantine/core";
import { IconAlertTriangle, IconPlus, IconSearch } from "@tabler/icons-react";
import { useEffect, useState } from "react";
import { Link, useNavigate, useSearchParams } from "react-router";
import { useDevices } from "../api/queries";
import type { Device } from "../api/types";
import { CodeLine, Empty, PresenceCell, Problem, rowKeys, Segments, Skeleton } from "../components/bits";
import { EnrolModal } from "../components/EnrolModal";
import { Mark } from "../components/Mark";
import { hostOf } from "../lib/format";
import { useSettled, useTitle } from "../lib/hooks";
import { useMay, useSession } from "../session";
import { S } from "../strings";

type StateFilter = "" | "online" | "offline";

export default function DevicesPage() {
  useTitle(S.devices.title);
  const [params, setParams] = useSearchParams();
  const [search, setSearch] = useState(params.get("search") ?? "");
  const state = (params.get("state") ?? "") as StateFilter;
  const group = params.get("group") ?? "";
  const settled = useSettled(search.trim(), 200);
  const query = useDevices({ search: settled, state, group });
  // The field is typed into here; the address follows once typing rests (a router's update may come late).
  useEffect(() => {
    if (settled !== (params.get("search") ?? "")) set("search", settled);
    // biome-ignore lint: only what was typed drives the address
  }, [settled]);
  const [enrolling, setEnrolling] = useState(false);
  const may = useMay();
  const mayAdd = may("manage_devices");

  const set = (name: string, value: string) =>
    setParams(
      (before) => {
        const next = new URLSearchParams(before);
        if (value) next.set(name, value);
        else next.delete(name);
        return next;
      },
      { replace: true },
    );

  const devices = query.data?.pages.flatMap((page) => page.devices) ?? [];
  const counts = query.data?.pages.at(-1)?.counts;
  const groups = [...new Set(devices.map((device) => device.group))].sort();
  const filtered = search !== "" || state !== "" || group !== "";
  const nothingYet = counts?.total === 0;
  const count = (value: number | undefined) => value !== undefined && <span className="count">{value.toLocaleString("en")}</span>;

  return (
    <>
      <div className="pagehead">
        <h1>{S.devices.title}</h1>
        <span className="grow" />
        {mayAdd && !nothingYet && (
          <Button leftSection={<IconPlus size={16} />} onClick={() => setEnrolling(true)}>
            {S.devices.add}
          </Button>
        )}
      </div>
      {query.error && !query.data ? (
        <Problem error={query.error} retry={() => void query.refetch()} />
      ) : nothingYet ? (
        <section className="card">
          <FirstDevice mayAdd={mayAdd} make={() => setEnrolling(true)} />
        </section>
      ) : (
        <section className="card" aria-label={S.devices.title}>
          <div className="filters">
            <TextInput
              className="find"
              data-find
              aria-label={S.devices.search}
              placeholder={S.devices.search}
              leftSection={<IconSearch size={15} />}
              rightSection={search ? <CloseButton size="sm" aria-label={S.devices.clear} onClick={() => setSearch("")} /> : <kbd className="hidephone">/</kbd>}
              value={search}
              onChange={(event) => setSearch(event.currentTarget.value)}
              onKeyDown={(event) => {
                if (event.key === "Escape") {
                  if (search) setSearch("");
                  else event.currentTarget.blur();
                } else if (event.key === "ArrowDown") {
                  event.preventDefault();
                  document.querySelector<HTMLElement>("tr[data-row]")?.focus();
                } else if (event.key === "Enter") {
                  document.querySelector<HTMLElement>("[data-row]")?.click();
                }
              }}
            />
            <Segments<StateFilter>
              label={S.devices.columns.presence}
              value={state}
              onChange={(value) => set("state", value)}
              options={[
                { value: "", label: <>{S.devices.all} {count(counts?.total)}</> },
                { value: "online", label: <>{S.devices.online} {count(counts?.online)}</> },
                { value: "offline", label: <>{S.devices.offline} {count(counts && counts.total - counts.online)}</> },
              ]}
            />
            {(groups.length > 1 || group) && (
              <Select
                aria-label={S.devices.group}
                placeholder={S.devices.allGroups}
                data={groups}
                value={group || null}
                onChange={(value) => set("group", value ?? "")}
                clearable
                w={160}
              />
            )}
            <span className="grow" />
            {filtered && counts && !query.hasNextPage && <span className="muted small num hidephone">{S.devices.shown(devices.length, counts.total)}</span>}
          </div>
          {query.isPending ? (
            <WaitingRows />
          ) : devices.length === 0 ? (
            <Empty title={S.devices.noneFound}>
              <p>{S.devices.noneFoundHint}</p>
              <Button
                variant="default"
                onClick={() => {
                  setSearch("");
                  setParams({}, { replace: true });
                }}
              >
                {S.devices.clear}
              </Button>
            </Empty>
          ) : (
            <>
              <Rows devices={devices} />
              <Cards devices={devices} />
            </>
          )}
          {query.hasNextPage && (
            <div className="foot">
              <Button size="compact-sm" variant="subtle" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
                {S.common.loadMore}
              </Button>
            </div>
          )}
        </section>
      )}
      <EnrolModal opened={enrolling} close={() => setEnrolling(false)} />
    </>
  );
}

const COLUMNS = S.devices.columns;

function HeadRow() {
  return (
    <thead>
      <tr>
        <th>{COLUMNS.name}</th>
        <th>{COLUMNS.presence}</th>
        <th>{COLUMNS.host}</th>
        <th>{COLUMNS.system}</th>
        <th>{COLUMNS.agent}</th>
        <th>{COLUMNS.cpu}</th>
        <th>{COLUMNS.memory}</th>
      </tr>
    </thead>
  );
}

function Rows({ devices }: { devices: Device[] }) {
  const navigate = useNavigate();
  return (
    <div className="tablewrap devicetable">
      <table className="grid" onKeyDown={rowKeys}>
        <HeadRow />
        <tbody>
          {devices.map((device) => {
            const to = `/devices/${device.id}`;
            return (
              <tr
                key={device.id}
                className="pick"
                data-row
                data-device={device.id}
                tabIndex={0}
                onClick={(event) => {
                  if (!(event.target as HTMLElement).closest("a")) void navigate(to);
                }}
                onKeyDown={(event) => event.key === "Enter" && void navigate(to)}
              >
                <td style={{ maxWidth: 280 }} className="clip">
                  <Link to={to} className="strong" tabIndex={-1} style={{ color: "inherit", textDecoration: "none" }} title={device.name}>
                    {device.name}
                  </Link>
                  {device.flags?.includes("duplicate_key") && (
                    <span className="presence verifying" title={S.devices.duplicate}>
                      &nbsp;
                      <IconAlertTriangle size={14} />
                    </span>
                  )}
                </td>
                <td>
                  <PresenceCell presence={device.presence} />
                </td>
                <td className="clip" style={{ maxWidth: 240 }}>
                  <Host device={device} />
                </td>
                <td className="muted clip" style={{ maxWidth: 240 }} title={system(device)}>
                  {system(device)}
                </td>
                <td className="muted nowrap">{device.agent.version || S.common.none}</td>
                <td>
                  <Meter value={live(device, "cpu")} label={COLUMNS.cpu} />
                </td>
                <td>
                  <Meter value={live(device, "memory")} label={COLUMNS.memory} />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Cards({ devices }: { devices: Device[] }) {
  return (
    <div className="devicecards">
      {devices.map((device) => (
        <Link key={device.id} to={`/devices/${device.id}`} className="devicecard" data-row data-device={device.id}>
          <div className="line">
            <span className="strong clip">{device.name}</span>
            <PresenceCell presence={device.presence} />
          </div>
          <div className="line muted small" style={{ marginTop: 2 }}>
            <span className="clip">{[hostOf(device.agent.address) || device.agent.hostname, system(device)].filter(Boolean).join(" · ")}</span>
            {live(device, "cpu") !== null && (
              <span className="nowrap num">
                {COLUMNS.cpu} {percent(live(device, "cpu"))}
              </span>
            )}
          </div>
        </Link>
      ))}
    </div>
  );
}

function Host({ device }: { device: Device }) {
  const { hostname } = device.agent;
  const address = hostOf(device.agent.address);
  const other = hostname !== device.name ? hostname : "";
  if (!address && !other) return <span className="muted">{S.common.none}</span>;
  return (
    <span title={[hostname, address].filter(Boolean).join(" · ")}>
      {other}
      {other && address && " "}
      <span className="mono muted">{address}</span>
    </span>
  );
}

const system = (device: Device): string => [device.agent.os || device.agent.platform, device.agent.arch].filter(Boolean).join(" · ") || S.common.none;

/** Values of a device that is away are not shown as if they were of now. */
const live = (device: Device, what: "cpu" | "memory"): number | null =>
  device.presence.state === "online" ? (device.summary?.[what] ?? null) : null;

const percent = (value: number | null): string => (value === null ? S.common.none : `${Math.round(value)}\u202f%`);

function Meter({ value, label }: { value: number | null; label: string }) {
  if (value === null) return <span className="muted">{S.common.none}</span>;
  return (
    <span className="meter" role="img" aria-label={`${label} ${percent(value)}`}>
      <span className="track">
        <span className="fill" style={{ width: `${Math.min(100, Math.max(0, value))}%` }} />
      </span>
      <span className="num">{percent(value)}</span>
    </span>
  );
}

function WaitingRows() {
  return (
    <div className="tablewrap" aria-busy="true">
      <table className="grid">
        <HeadRow />
        <tbody>
          {Array.from({ length: 8 }, (_, n) => (
            <tr key={n}>
              {[38, 30, 44, 36, 16, 30, 30].map((width, column) => (
                <td key={column}>
                  <Skeleton width={width * 2.4 + ((n * 17) % 30)} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function FirstDevice({ mayAdd, make }: { mayAdd: boolean; make: () => void }) {
  const { version } = useSession();
  return (
    <div className="empty" style={{ padding: "56px 24px" }}>
      <span style={{ color: "var(--tl-accent)" }}>
        <Mark size={44} />
      </span>
      <h2>{S.devices.emptyTitle}</h2>
      <p>{S.devices.emptyText}</p>
      <div className="stack" style={{ width: "100%", maxWidth: 460, marginTop: 8, gap: 8 }}>
        <div className="small" style={{ textAlign: "start" }}>
          {S.devices.emptyInstall}
        </div>
        <CodeLine code={S.devices.installCommand(version)} />
        <CodeLine code={S.devices.enrolExample} />
      </div>
      {mayAdd ? (
        <Button mt={12} leftSection={<IconPlus size={16} />} onClick={make}>
          {S.devices.emptyMake}
        </Button>
      ) : (
        <p className="small">{S.devices.forbiddenAdd}</p>
      )}
    </div>
  );
}
