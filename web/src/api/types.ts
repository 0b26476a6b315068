// SPDX-License-Identifier: Apache-2.0
// The JSON of the public REST interface, /api/towline/v1.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface Session {
  user: { id: string; name: string; display_name: string };
  workgroup: { id: string; name: string };
  privileges: string[];
  expires_at: string | null;
  token: string;
  version: string;
}

export type PresenceState = "online" | "offline" | "verifying" | "never";

export interface Presence {
  state: PresenceState;
  since: string | null;
  cause: string;
  cause_text: string;
}

export interface Device {
  id: string;
  name: string;
  cn: string;
  workgroup: string;
  group: string;
  created_at: string | null;
  presence: Presence;
  agent: { version: string; platform: string; arch: string; hostname: string; os: string; address: string };
  summary: { cpu: number | null; memory: number | null } | null;
  flags?: string[];
}

export interface DevicePage {
  devices: Device[];
  next: string | null;
  counts: { total: number; online: number };
}

export interface Property {
  name: string;
  displayName?: string;
  displayCategory?: string;
  description?: string;
  displayType?: string;
  value?: Json;
}

export interface StateSpec {
  name: string;
  displayName?: string;
  displayCategory?: string;
  description?: string;
  displayType?: string;
}

export interface MetricSpec extends StateSpec {
  displayUnit?: string;
}

export interface EventSpec {
  name: string;
  displayName?: string;
  displayCategory?: string;
  description?: string;
}

export interface Param {
  name: string;
  displayName?: string;
  description?: string;
  displayType: string;
  required: boolean;
  requiredOn?: string;
  displayValues?: string[] | string;
  defaultValue?: string;
  displayFormat?: string;
  valueFromProperty?: string;
  displayMask?: boolean;
  valueEncoding?: string;
}

export interface CommandSpec {
  name: string;
  displayName?: string;
  displayCategory?: string;
  description?: string;
  type?: string;
  params?: Param[] | Param[][];
  displayOnProperty?: Record<string, string[]>;
}

export interface Module {
  moduleName: string;
  displayName?: string;
  description?: string;
  properties?: Property[];
  states?: StateSpec[];
  metrics?: MetricSpec[];
  events?: EventSpec[];
  commands?: CommandSpec[];
}

export interface Plugin {
  app_guid: string;
  app_name: string;
  display_name: string;
  version: string;
  type: string;
  online: boolean;
  since: string | null;
  cause: string;
  declared_at: string | null;
  modules: Module[];
}

export interface State {
  app_guid: string;
  table: string;
  source: string;
  field: string;
  value: Json;
  time: string | null;
}

export interface Series {
  table: string;
  source: string;
  field: string;
  points: [number, number][];
}

export interface Metrics {
  from: string;
  to: string;
  series: Series[];
  truncated: boolean;
}

export interface Event {
  message_id: number | string;
  table: string;
  source: string;
  name: string;
  value: Json;
  time: string | null;
  stored_at: string | null;
}

export interface CommandStep {
  state: string;
  time: string | null;
  note: string;
}

export interface Command {
  id: string;
  device_id: string;
  app_guid: string;
  module: string;
  name: string;
  params: Record<string, Json>;
  state: string;
  final: boolean;
  created_at: string | null;
  expires_at: string | null;
  user: string;
  steps: CommandStep[];
  result: Json;
  late_result: boolean;
}

export interface ExecResult {
  correlation_id: string;
  stdout: string;
  stderr: string;
  return_code: number;
  reason: string | null;
}

export interface NewEnrolment {
  id: string;
  line: string;
  command: string;
  expires_at: string | null;
}

export interface Credential {
  app_guid: string;
  name: string;
  platform: string;
  architecture: string;
  created_at: string | null;
  devices: number;
  access_key?: string;
}

export interface User {
  id: string;
  name: string;
  display_name: string;
  privileges: string[];
  created_at: string | null;
  disabled: boolean;
  last_login: string | null;
}

export interface Token {
  jti: string;
  name: string;
  user: { id: string; name: string };
  privileges: string[];
  created_at: string | null;
  expires_at: string | null;
  revoked: boolean;
}

export interface AuditEntry {
  id: number;
  time: string | null;
  user: string;
  action: string;
  entity: string;
  entity_id: string;
  detail: Json;
  address: string;
}

/** One record of the live feed. */
export interface LiveRecord {
  kind: string;
  table: string;
  source: string;
  time: number;
  message_id: number | string;
  fields: Record<string, Json>;
}

export interface GatewayListener {
  number: number;
  listen: string;
  path: string;
  protocol: string;
  tls: boolean;
  entry: string;
  clients: number;
  accepted: number;
  messages: number;
  entry_errors: number;
  refused: Record<string, number>;
  closed: Record<string, number>;
}

export interface GatewayNode {
  id: string;
  number: number;
  version: string | null;
  api_server: string | null;
  clients_listen: string | null;
  started_at: string | null;
  clients: number | null;
  links: number | null;
  channels: number | null;
  topics: number | null;
  queued: number | null;
  queued_bytes: number | null;
  consumers: number | null;
  behind: number | null;
  loop_lag_ms: number | null;
  memory_bytes: number | null;
  draining: boolean | null;
  counters: Record<string, number>;
  listeners: GatewayListener[];
}

export interface GatewayChannels {
  channels: { name: string; subscribers: number; nodes: number }[];
  more: boolean;
  silent: number[];
}

export interface GatewayTopics {
  topics: { name: string; depth: number; consumers: number; away: number; durable: boolean; nodes: number }[];
  more: boolean;
  silent: number[];
}

export interface GatewayClient {
  id: string;
  node: number;
  listener: number;
  remote_addr: string;
  since: string | null;
  channels: number;
  waiting: number;
}

export interface GatewayClients {
  clients: GatewayClient[];
  next: string | null;
  silent: number[];
}

export interface GatewayClientDetails extends Omit<GatewayClient, "channels"> {
  listen: string;
  entry: string;
  protocol: string;
  path: string;
  user_agent: string;
  context: Json;
  omitted: string[];
  channels: string[];
  channel_count: number;
  behind: boolean;
}

export interface GatewaySent {
  sent: number;
  failed: number;
  silent: number;
}
