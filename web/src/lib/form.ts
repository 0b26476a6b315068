// SPDX-License-Identifier: Apache-2.0
// A form from a declaration: which fields show, what they start with, whether they are right, what is sent.
// The rules are octo's; the server checks them again.

import type { CommandSpec, Module, Param } from "../api/types";
import { S } from "../strings";

export type Values = Record<string, string | boolean>;

const CHOICES = new Set(["switch", "checkbox", "list"]);

/** Rows of parameters: a two-dimensional declaration keeps its rows, a flat one is a row for each. */
export function rows(command: CommandSpec): Param[][] {
  const params = command.params ?? [];
  return Array.isArray(params[0]) ? (params as Param[][]) : (params as Param[]).map((param) => [param]);
}

export const flat = (command: CommandSpec): Param[] => rows(command).flat();

export const label = (item: { name: string; displayName?: string }): string => item.displayName || item.name;

interface FromProperty {
  displayValues?: unknown;
  defaultValue?: unknown;
}

function fromProperty(param: Param, module: Module): FromProperty | null {
  if (!param.valueFromProperty || !CHOICES.has(param.displayType)) return null;
  const value = module.properties?.find((property) => property.name === param.valueFromProperty)?.value;
  return value && typeof value === "object" && !Array.isArray(value) ? (value as FromProperty) : null;
}

/** What may be chosen; for a switch and a checkbox the first means off, the second on. */
export function choices(param: Param, module: Module): string[] {
  const values = fromProperty(param, module)?.displayValues ?? param.displayValues;
  return Array.isArray(values) ? values.filter((value): value is string => typeof value === "string") : [];
}

export function defaultOf(param: Param, module: Module): string | boolean {
  if (param.displayType === "tos") return false;
  const declared = fromProperty(param, module)?.defaultValue ?? param.defaultValue;
  const text = typeof declared === "string" ? declared : "";
  if (param.displayType === "switch" || param.displayType === "checkbox") {
    const values = choices(param, module);
    return values.includes(text) ? text : (values[0] ?? "");
  }
  if (param.displayType === "list") return choices(param, module).includes(text) ? text : "";
  return text;
}

export const initial = (command: CommandSpec, module: Module): Values =>
  Object.fromEntries(flat(command).map((param) => [param.name, defaultOf(param, module)]));

const hasValue = (value: string | boolean | undefined): boolean => value !== undefined && value !== "" && value !== false;

/** Required as declared, or because the field it hangs on has a value. */
export const isRequired = (param: Param, values: Values): boolean =>
  param.required || (!!param.requiredOn && hasValue(values[param.requiredOn]));

/** A field that is only ever required on another one stays away until that one has a value. */
export const isVisible = (param: Param, values: Values): boolean =>
  param.required || !param.requiredOn || hasValue(values[param.requiredOn]);

/** Whether the command shows at all: every named property has one of the values. */
export function commandShows(command: CommandSpec, module: Module): boolean {
  return Object.entries(command.displayOnProperty ?? {}).every(([name, allowed]) => {
    const value = module.properties?.find((property) => property.name === name)?.value;
    return typeof value === "string" && allowed.includes(value);
  });
}

const DATE = /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/;
const TIME = /^([01]\d|2[0-3]):[0-5]\d$/;

function dateIsRight(value: string, format: string): boolean {
  if (format === "YYYY-MM-DD") return DATE.test(value);
  if (format === "HH:MM") return TIME.test(value);
  const [day = "", clock = "", ...more] = value.split(" ");
  return DATE.test(day) && TIME.test(clock) && more.length === 0;
}

/** What is wrong, by field name; {} when the form may be sent. */
export function validate(command: CommandSpec, module: Module, values: Values): Record<string, string> {
  const errors: Record<string, string> = {};
  for (const param of flat(command)) {
    if (!isVisible(param, values)) continue;
    const value = values[param.name];
    if (param.displayType === "tos") {
      if (param.required && value !== true) errors[param.name] = S.commands.agreeNeeded;
      continue;
    }
    if (!hasValue(value)) {
      if (isRequired(param, values)) errors[param.name] = S.common.required;
      continue;
    }
    const format = param.displayFormat ?? "YYYY-MM-DD HH:MM";
    if (param.displayType === "datetime" && !dateIsRight(String(value), format)) {
      errors[param.name] = S.commands.badDate(format);
    } else if (CHOICES.has(param.displayType) && !choices(param, module).includes(String(value))) {
      errors[param.name] = S.commands.notInList;
    }
  }
  return errors;
}

function base64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

/** The values to send, in declaration order; what was left empty is left out. */
export function toWire(command: CommandSpec, values: Values): Values {
  const result: Values = {};
  for (const param of flat(command)) {
    const value = values[param.name];
    if (!isVisible(param, values) || value === undefined || value === "") continue;
    const encoded = param.displayType === "string" && param.valueEncoding === "base64";
    result[param.name] = encoded && typeof value === "string" ? base64(value) : value;
  }
  return result;
}
