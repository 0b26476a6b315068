// SPDX-License-Identifier: Apache-2.0
// The live feed: one socket.io connection for the page, watched devices, and an honest word on whether it stands.

import { io, type Socket } from "socket.io-client";
import { BASE } from "./client";
import type { Command, LiveRecord, Presence, State } from "./types";

export type LiveStatus = "off" | "connecting" | "live" | "lost";

export interface LiveState {
  status: LiveStatus;
  /** When the status became what it is (ms); of a lost connection, when the server was last heard. */
  since: number;
  /** How often the connection has come back. */
  restored: number;
}

export interface DeviceHandlers {
  records?: (records: LiveRecord[]) => void;
  states?: (states: State[]) => void;
  plugins?: () => void;
  command?: (command: Command) => void;
}

export interface WorkgroupHandlers {
  presence?: (deviceId: string, presence: Presence) => void;
  created?: (device: { id?: string; name?: string }) => void;
  changed?: (deviceId: string) => void;
}

/** A connection that was lost for less than this is not worth a banner. */
const PATIENCE_MS = 1500;

class Live {
  private socket: Socket | null = null;
  private state: LiveState = { status: "off", since: Date.now(), restored: 0 };
  private readonly listeners = new Set<() => void>();
  private readonly devices = new Map<string, Set<DeviceHandlers>>();
  private readonly workgroup = new Set<WorkgroupHandlers>();
  private readonly recoveries = new Set<() => void>();
  private refused: (() => void) | null = null;
  private lostTimer: number | undefined;
  /** When anything came from the server: it pings when it has nothing to say. */
  private heard = Date.now();

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };
  readonly snapshot = (): LiveState => this.state;

  /** Connect with a session token; `refused` is called when the server says that the token is no longer good. */
  connect(token: string, workgroup: string, refused: () => void): void {
    this.disconnect();
    this.refused = refused;
    this.heard = Date.now();
    this.set("connecting");
    const socket = io(window.location.origin, {
      path: `${BASE}socket.io-client`,
      transports: ["websocket"],
      query: { token, orgName: workgroup },
      reconnectionDelay: 500,
      reconnectionDelayMax: 5000,
      randomizationFactor: 0.4,
      timeout: 6000,
      forceNew: true,
    });
    this.socket = socket;
    socket.io.on("open", () => {
      this.heard = Date.now();
      socket.io.engine.on("packet", () => {
        this.heard = Date.now();
      });
    });
    socket.on("connect", () => this.connected());
    socket.on("disconnect", (reason) => {
      this.lost();
      if (reason === "io server disconnect") {
        this.refused?.(); // asks REST whether the session still stands
        window.setTimeout(() => socket === this.socket && socket.connect(), 1000);
      }
    });
    socket.on("connect_error", (error) => {
      this.lost();
      const data = (error as Error & { data?: unknown }).data;
      if (data !== undefined && !socket.active) {
        this.refused?.();
        window.setTimeout(() => socket === this.socket && socket.connect(), 5000);
      }
    });
    this.listen(socket);
  }

  disconnect(): void {
    window.clearTimeout(this.lostTimer);
    this.socket?.removeAllListeners();
    this.socket?.disconnect();
    this.socket = null;
    this.state = { status: "off", since: Date.now(), restored: 0 };
    this.notify();
  }

  /** Do not wait for the next attempt. */
  retryNow(): void {
    if (!this.socket || this.socket.connected) return;
    this.socket.disconnect();
    this.socket.connect();
  }

  /** Follow one device until the returned function is called. */
  watch(deviceId: string, handlers: DeviceHandlers): () => void {
    const present = this.devices.get(deviceId);
    if (present) present.add(handlers);
    else {
      this.devices.set(deviceId, new Set([handlers]));
      if (this.socket?.connected) this.socket.emit("towline:watch", { deviceId });
    }
    return () => {
      const set = this.devices.get(deviceId);
      set?.delete(handlers);
      if (set && set.size === 0) {
        this.devices.delete(deviceId);
        if (this.socket?.connected) this.socket.emit("towline:unwatch", { deviceId });
      }
    };
  }

  /** Follow what concerns the whole workgroup. */
  follow(handlers: WorkgroupHandlers): () => void {
    this.workgroup.add(handlers);
    return () => this.workgroup.delete(handlers);
  }

  /** Called each time the connection stands again (and watches are set), so that what was missed is fetched. */
  onRecovery(listener: () => void): () => void {
    this.recoveries.add(listener);
    return () => this.recoveries.delete(listener);
  }

  private connected(): void {
    window.clearTimeout(this.lostTimer);
    const wasLost = this.state.status === "lost" || this.lostTimer !== undefined;
    this.lostTimer = undefined;
    // The server forgets watches with the connection.
    for (const deviceId of this.devices.keys()) this.socket?.emit("towline:watch", { deviceId });
    this.set("live", wasLost ? this.state.restored + 1 : this.state.restored);
    if (wasLost) this.recoveries.forEach((listener) => listener());
  }

  private lost(): void {
    if (this.state.status === "lost" || this.lostTimer !== undefined) return;
    // A connection that went silent was lost when it did, and is found out much later.
    const since = this.heard;
    this.lostTimer = window.setTimeout(() => {
      this.state = { ...this.state, status: "lost", since };
      this.notify();
    }, PATIENCE_MS);
  }

  private set(status: LiveStatus, restored = this.state.restored): void {
    this.state = { status, since: Date.now(), restored };
    this.notify();
  }

  private notify(): void {
    this.listeners.forEach((listener) => listener());
  }

  private listen(socket: Socket): void {
    const device = (id: string, act: (handlers: DeviceHandlers) => void) => this.devices.get(id)?.forEach(act);
    socket.on("towline:records", (m: { deviceId: string; records: LiveRecord[] }) =>
      device(m.deviceId, (h) => h.records?.(m.records)),
    );
    socket.on("towline:states", (m: { deviceId: string; states: State[] }) =>
      device(m.deviceId, (h) => h.states?.(m.states)),
    );
    socket.on("towline:plugins", (m: { deviceId: string }) => device(m.deviceId, (h) => h.plugins?.()));
    socket.on("towline:command", (m: { deviceId: string; command: Command }) =>
      device(m.deviceId, (h) => h.command?.(m.command)),
    );
    socket.on("towline:presence", (m: { deviceId: string; presence: Presence }) =>
      this.workgroup.forEach((h) => h.presence?.(m.deviceId, m.presence)),
    );
    socket.on("device:new", (m: { id?: string; name?: string }) => this.workgroup.forEach((h) => h.created?.(m)));
    socket.on("towline:device", (m: { deviceId: string }) => this.workgroup.forEach((h) => h.changed?.(m.deviceId)));
  }
}

export const live = new Live();
