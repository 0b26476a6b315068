// SPDX-License-Identifier: Apache-2.0

import { describe, expect, it } from "vitest";
import type { CommandSpec, Module, Param } from "../api/types";
import { choices, commandShows, initial, isVisible, rows, toWire, validate } from "./form";

const param = (over: Partial<Param> & { name: string }): Param => ({ displayType: "string", required: false, ...over });
const module: Module = {
  moduleName: "m",
  properties: [
    { name: "mode", displayType: "displayOn", value: "full" },
    { name: "ports", displayType: "valueFromProperty", value: { displayValues: ["eth0", "eth1"], defaultValue: "eth1" } },
  ],
};
const command = (params: CommandSpec["params"]): CommandSpec => ({ name: "c", type: "asynchronous", params });

describe("a form from a declaration", () => {
  it("keeps rows of a two-dimensional declaration", () => {
    expect(rows(command([[param({ name: "a" }), param({ name: "b" })], [param({ name: "c" })]])).map((row) => row.length)).toEqual([2, 1]);
    expect(rows(command([param({ name: "a" }), param({ name: "b" })])).length).toBe(2);
    expect(rows({ name: "c" })).toEqual([]);
  });

  it("starts with the declared values", () => {
    const spec = command([
      param({ name: "s", defaultValue: "Buzz" }),
      param({ name: "w", displayType: "switch", displayValues: ["off", "on"] }),
      param({ name: "l", displayType: "list", valueFromProperty: "ports" }),
      param({ name: "x", displayType: "list", displayValues: ["1"], defaultValue: "9" }),
      param({ name: "t", displayType: "tos" }),
    ]);
    expect(initial(spec, module)).toEqual({ s: "Buzz", w: "off", l: "eth1", x: "", t: false });
    expect(choices(param({ name: "l", displayType: "list", valueFromProperty: "ports" }), module)).toEqual(["eth0", "eth1"]);
  });

  it("asks for what is required, and for what another field makes required", () => {
    const spec = command([
      param({ name: "a", required: true }),
      param({ name: "mail" }),
      param({ name: "subject", requiredOn: "mail" }),
      param({ name: "terms", displayType: "tos", required: true }),
    ]);
    expect(Object.keys(validate(spec, module, { a: "", mail: "", subject: "", terms: false }))).toEqual(["a", "terms"]);
    expect(Object.keys(validate(spec, module, { a: "x", mail: "y", subject: "", terms: true }))).toEqual(["subject"]);
    expect(isVisible(param({ name: "subject", requiredOn: "mail" }), { mail: "" })).toBe(false);
  });

  it("holds dates to their format", () => {
    const at = (displayFormat: string, value: string) =>
      Object.keys(validate(command([param({ name: "d", displayType: "datetime", displayFormat })]), module, { d: value })).length;
    expect(at("YYYY-MM-DD", "2026-11-21")).toBe(0);
    expect(at("YYYY-MM-DD", "21.11.2026")).toBe(1);
    expect(at("HH:MM", "23:59")).toBe(0);
    expect(at("HH:MM", "24:00")).toBe(1);
    expect(at("YYYY-MM-DD HH:MM", "2026-11-21 07:05")).toBe(0);
    expect(at("YYYY-MM-DD HH:MM", "2026-11-21")).toBe(1);
  });

  it("sends what was filled in, in declaration order, encoded as declared", () => {
    const spec = command([
      param({ name: "b", valueEncoding: "base64" }),
      param({ name: "a" }),
      param({ name: "empty" }),
      param({ name: "hidden", requiredOn: "empty" }),
      param({ name: "t", displayType: "tos" }),
    ]);
    const wire = toWire(spec, { a: "1", b: "grüße", empty: "", hidden: "x", t: false });
    expect(JSON.stringify(wire)).toBe(JSON.stringify({ b: "Z3LDvMOfZQ==", a: "1", t: false }));
  });

  it("shows a command while its property has the value", () => {
    expect(commandShows({ name: "c", displayOnProperty: { mode: ["full", "test"] } }, module)).toBe(true);
    expect(commandShows({ name: "c", displayOnProperty: { mode: ["test"] } }, module)).toBe(false);
    expect(commandShows({ name: "c" }, module)).toBe(true);
  });
});
