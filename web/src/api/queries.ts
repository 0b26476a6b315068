// SPDX-License-Identifier: Apache-2.0
// What the page asks for, as react-query hooks, and how the live feed corrects it.

import {
  QueryClient,
  type InfiniteData,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";
import { belongTo } from "../lib/kept";
import { RateHistory } from "../lib/rates";
import { ApiError, call, patch, path, post, remove } from "./client";
import { live } from "./live";
import type * as T from "./types";

export const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 10_000,
      gcTime: 10 * 60_000,
      refetchOnWindowFocus: true,
      retry: (count, error) => error instanceof ApiError && (error.status === 0 || error.status >= 500) && count < 2,
      retryDelay: (count) => 400 * 2 ** count,
      networkMode: "always",
    },
    mutations: { networkMode: "always" },
  },
});

live.onRecovery(() => void client.invalidateQueries());

// The one place that sees every change of who is signed in, whatever brought it: signing in or out here, in another
// tab, or the session's end. What was asked for or typed by the one before is not for the one after. The cache tells
// us before it tells components, so nothing of it is drawn again. The session's own query stays: it is watched.
client.getQueryCache().subscribe(({ type, query }) => {
  if (type !== "updated" || query.queryKey[0] !== "session" || query.state.data === undefined) return;
  const session = query.state.data as T.Session | null;
  if (!belongTo(session && session.user.id)) return;
  client.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== "session" });
  client.getMutationCache().clear();
});

export const useLive = () => useSyncExternalStore(live.subscribe, live.snapshot);

// Session ---------------------------------------------------------------------------------------------------------

export const useSessionQuery = () =>
  useQuery({
    queryKey: ["session"],
    queryFn: async () => {
      try {
        return await call<T.Session>("/session");
      } catch (error) {
        if (error instanceof ApiError && error.status === 401) return null;
        throw error;
      }
    },
    staleTime: 5 * 60_000,
    refetchInterval: 5 * 60_000,
  });

// Devices ---------------------------------------------------------------------------------------------------------

export interface DeviceFilter {
  search: string;
  state: string;
  group: string;
}

type DevicePages = InfiniteData<T.DevicePage, string | null>;

export const useDevices = (filter: DeviceFilter) =>
  useInfiniteQuery({
    queryKey: ["devices", filter],
    queryFn: ({ pageParam, signal }) =>
      call<T.DevicePage>(path(["devices"], { ...filter, limit: 100, after: pageParam }), { signal }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next,
    placeholderData: (before) => before,
    refetchInterval: 10_000,
  });

export const useDevice = (id: string) =>
  useQuery({ queryKey: ["device", id], queryFn: ({ signal }) => call<T.Device>(path(["devices", id]), { signal }) });

export const useDeviceSearch = (search: string, enabled: boolean) =>
  useQuery({
    queryKey: ["device-search", search],
    queryFn: ({ signal }) => call<T.DevicePage>(path(["devices"], { search, limit: 8 }), { signal }),
    enabled,
    placeholderData: (before) => before,
  });

/** Keeps device lists and pages true while the live feed stands. Used once, by the shell. */
export function useWorkgroupFeed(): void {
  const query = useQueryClient();
  useEffect(() => {
    let timer: number | undefined;
    const listSoon = () => {
      window.clearTimeout(timer);
      timer = window.setTimeout(() => void query.invalidateQueries({ queryKey: ["devices"] }), 400);
    };
    const stop = live.follow({
      presence: (id, presence) => {
        query.setQueryData<T.Device>(["device", id], (device) => device && { ...device, presence });
        query.setQueriesData<DevicePages>({ queryKey: ["devices"] }, (pages) => withPresence(pages, id, presence));
        listSoon();
      },
      created: listSoon,
      changed: (id) => {
        void query.invalidateQueries({ queryKey: ["device", id] });
        listSoon();
      },
    });
    return () => {
      window.clearTimeout(timer);
      stop();
    };
  }, [query]);
}

function withPresence(pages: DevicePages | undefined, id: string, presence: T.Presence): DevicePages | undefined {
  if (!pages?.pages.some((page) => page.devices.some((device) => device.id === id))) return pages;
  return {
    ...pages,
    pages: pages.pages.map((page) => ({
      ...page,
      devices: page.devices.map((device) => (device.id === id ? { ...device, presence } : device)),
    })),
  };
}

export function useRenameDevice(id: string) {
  const query = useQueryClient();
  return useMutation({
    mutationFn: (name: string) => patch<T.Device>(path(["devices", id]), { name }),
    onSuccess: () => {
      void query.invalidateQueries({ queryKey: ["device", id] });
      void query.invalidateQueries({ queryKey: ["devices"] });
    },
  });
}

export function useDeleteDevice(id: string) {
  const query = useQueryClient();
  return useMutation({
    mutationFn: () => remove(path(["devices", id])),
    onSuccess: () => void query.invalidateQueries({ queryKey: ["devices"] }),
  });
}

// One device's data -----------------------------------------------------------------------------------------------

export const usePlugins = (id: string) =>
  useQuery({
    queryKey: ["plugins", id],
    queryFn: async ({ signal }) => (await call<{ plugins: T.Plugin[] }>(path(["devices", id, "plugins"]), { signal })).plugins,
  });

export const useStates = (id: string) =>
  useQuery({
    queryKey: ["states", id],
    queryFn: async ({ signal }) => (await call<{ states: T.State[] }>(path(["devices", id, "states"]), { signal })).states,
  });

export const useEvents = (id: string) =>
  useInfiniteQuery({
    queryKey: ["events", id],
    queryFn: ({ pageParam, signal }) =>
      call<{ events: T.Event[]; next: string | number | null }>(
        path(["devices", id, "events"], { limit: 25, before: pageParam }),
        { signal },
      ),
    initialPageParam: null as string | number | null,
    getNextPageParam: (page) => page.next,
  });

type CommandPages = InfiniteData<{ commands: T.Command[]; next: string | null }, string | null>;

export const useCommands = (id: string) =>
  useInfiniteQuery({
    queryKey: ["commands", id],
    queryFn: ({ pageParam, signal }) =>
      call<{ commands: T.Command[]; next: string | null }>(
        path(["devices", id, "commands"], { limit: 15, before: pageParam }),
        { signal },
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next,
  });

/** One command; while it is not final it is also asked for now and then, should the live feed be away. */
export const useCommand = (id: string | null) =>
  useQuery({
    queryKey: ["command", id],
    queryFn: ({ signal }) => call<T.Command>(path(["commands", id ?? ""]), { signal }),
    enabled: id !== null,
    refetchInterval: (query) => (query.state.data && !query.state.data.final ? 3000 : false),
  });

export function useSubmitCommand(deviceId: string) {
  const query = useQueryClient();
  return useMutation({
    mutationFn: (command: { app_guid: string; module: string; name: string; params: Record<string, string | boolean>; key: string }) => {
      const { key, ...body } = command;
      return post<T.Command>(path(["devices", deviceId, "commands"]), body, { headers: { "idempotency-key": key } });
    },
    onSuccess: (command) => keepCommand(query, deviceId, command),
  });
}

export function useCancelCommand() {
  const query = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => post<T.Command>(path(["commands", id, "cancel"])),
    onSuccess: (command) => keepCommand(query, command.device_id, command),
  });
}

function keepCommand(query: QueryClient, deviceId: string, command: T.Command): void {
  query.setQueryData<T.Command>(["command", command.id], (before) => newer(before, command));
  query.setQueryData<CommandPages>(["commands", deviceId], (pages) => {
    if (!pages) return pages;
    const known = pages.pages.some((page) => page.commands.some((each) => each.id === command.id));
    return {
      ...pages,
      pages: pages.pages.map((page, n) => {
        if (!known) return n === 0 ? { ...page, commands: [command, ...page.commands] } : page;
        return { ...page, commands: page.commands.map((each) => (each.id === command.id ? newer(each, command) : each)) };
      }),
    };
  });
}

/** Live and polled answers may cross; the one with more history wins. */
function newer(before: T.Command | undefined, now: T.Command): T.Command {
  if (!before || now.final || !before.final) {
    return before && before.steps.length > now.steps.length ? before : now;
  }
  return before;
}

/** Keeps one device's queries true while the live feed stands; `records` go to the charts. */
export function useDeviceFeed(id: string, records: (records: T.LiveRecord[]) => void): void {
  const query = useQueryClient();
  useEffect(() => {
    return live.watch(id, {
      records: (batch) => {
        records(batch);
        if (batch.some((record) => record.kind === "event")) void query.invalidateQueries({ queryKey: ["events", id] });
      },
      states: (states) =>
        query.setQueryData<T.State[]>(["states", id], (before) => (before ? withStates(before, states) : before)),
      plugins: () => {
        void query.invalidateQueries({ queryKey: ["plugins", id] });
        void query.invalidateQueries({ queryKey: ["states", id] });
      },
      command: (command) => keepCommand(query, id, command),
    });
  }, [id, query, records]);
}

function withStates(before: T.State[], changed: T.State[]): T.State[] {
  const key = (s: T.State) => `${s.app_guid}|${s.source}|${s.field}`;
  const now = new Map(before.map((state) => [key(state), state]));
  changed.forEach((state) => now.set(key(state), state));
  return [...now.values()];
}

export const fetchMetrics = (id: string, from: string, to: string, signal?: AbortSignal) =>
  call<T.Metrics>(path(["devices", id, "metrics"], { from, to, max_points: 600 }), { signal });

// Access, plugins, audit ------------------------------------------------------------------------------------------

const list = <K extends string, V>(key: K, enabled = true) =>
  ({
    queryKey: [key],
    queryFn: async ({ signal }: { signal: AbortSignal }) => (await call<Record<K, V[]>>(`/${key}`, { signal }))[key],
    enabled,
  }) as const;

export const useTokens = () => useQuery(list<"tokens", T.Token>("tokens"));
export const useUsers = (enabled: boolean) => useQuery(list<"users", T.User>("users", enabled));
export const useCredentials = () => useQuery({ ...list<"plugins", T.Credential>("plugins"), queryKey: ["credentials"] });

export const useAudit = () =>
  useInfiniteQuery({
    queryKey: ["audit"],
    queryFn: ({ pageParam, signal }) =>
      call<{ entries: T.AuditEntry[]; next: string | number | null }>(path(["audit"], { limit: 50, before: pageParam }), {
        signal,
      }),
    initialPageParam: null as string | number | null,
    getNextPageParam: (page) => page.next,
  });

// Gateway ---------------------------------------------------------------------------------------------------------

const LIVE_MS = 2000;

/** What the nodes counted while this page was open. */
export const gatewayHistory = new RateHistory(5 * 60_000);

export const useGateway = () =>
  useQuery({
    queryKey: ["gateway"],
    queryFn: async ({ signal }) => {
      const { nodes } = await call<{ nodes: T.GatewayNode[] }>("/gateway", { signal });
      const told = nodes.filter((node) => node.clients !== null);
      gatewayHistory.add(
        Date.now(),
        told.map((node) => [node.id, { ...node.counters, clients: node.clients ?? 0, queued: node.queued ?? 0 }]),
      );
      return nodes;
    },
    refetchInterval: LIVE_MS,
    staleTime: 1000,
  });

const gatewayList = <V>(name: string, query: Record<string, string | number>) => ({
  queryKey: ["gateway", name, query],
  queryFn: ({ signal }: { signal: AbortSignal }) => call<V>(path(["gateway", name], query), { signal }),
  placeholderData: (before: V | undefined) => before,
  refetchInterval: LIVE_MS,
  staleTime: 1000,
});

export const useGatewayChannels = (search: string) =>
  useQuery(gatewayList<T.GatewayChannels>("channels", { search, limit: 200 }));
export const useGatewayTopics = (search: string) => useQuery(gatewayList<T.GatewayTopics>("topics", { search, limit: 200 }));

export interface ClientFilter {
  search: string;
  channel: string;
  node: string;
}

export const useGatewayClients = (filter: ClientFilter) =>
  useInfiniteQuery({
    queryKey: ["gateway", "clients", filter],
    queryFn: ({ pageParam, signal }) =>
      call<T.GatewayClients>(path(["gateway", "clients"], { ...filter, limit: 100, after: pageParam }), { signal }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next,
    placeholderData: (before) => before,
    refetchInterval: LIVE_MS,
    staleTime: 1000,
  });

export const useGatewayClient = (id: string | null) =>
  useQuery({
    queryKey: ["gateway", "client", id],
    queryFn: ({ signal }) => call<T.GatewayClientDetails>(path(["gateway", "clients", id ?? ""]), { signal }),
    enabled: id !== null,
    refetchInterval: (query) => (query.state.error ? false : LIVE_MS),
    staleTime: 1000,
  });

export interface Outgoing {
  how: "publish" | "send";
  to: string;
  data: string;
  kind: "text" | "binary";
}

export const sendOut = ({ how, to, data, kind }: Outgoing): Promise<T.GatewaySent> =>
  how === "publish"
    ? post<T.GatewaySent>("/gateway/publish", { channel: to, data, kind })
    : post<T.GatewaySent>(path(["gateway", "clients", to, "send"]), { data, kind });

/** A change that makes lists of these keys stale. */
export function useChange<A, R>(change: (argument: A) => Promise<R>, ...keys: string[]) {
  const query = useQueryClient();
  return useMutation({
    mutationFn: change,
    onSuccess: () => keys.forEach((key) => void query.invalidateQueries({ queryKey: [key] })),
  });
}
