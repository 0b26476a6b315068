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
