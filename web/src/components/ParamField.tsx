// SPDX-License-Identifier: Apache-2.0
// One field of a command's form, by the declared displayType.

import { Anchor, Checkbox, PasswordInput, Select, Switch, Textarea, TextInput } from "@mantine/core";
import { DatePickerInput, DateTimePicker, TimePicker } from "@mantine/dates";
import { IconCalendar, IconClock } from "@tabler/icons-react";
import type { Module, Param } from "../api/types";
import { choices, isRequired, label, type Values } from "../lib/form";
import { S } from "../strings";
import { safeUrl } from "./ValueView";

interface Props {
  param: Param;
  module: Module;
  values: Values;
  error: string | undefined;
  /** The label of the field that makes this one required. */
  because: string | undefined;
  set: (value: string | boolean) => void;
}

export function ParamField({ param, module, values, error, because, set }: Props) {
  const value = values[param.name];
  const text = typeof value === "string" ? value : "";
  const help = [param.description, because ? S.commands.requiredBecause(because) : ""].filter(Boolean).join(" · ");
  const base = {
    label: label(param),
    description: help || undefined,
    error,
    withAsterisk: isRequired(param, values),
    "data-param": param.name,
  };
  switch (param.displayType) {
    case "text":
      return <Textarea {...base} autosize minRows={3} maxRows={12} value={text} onChange={(e) => set(e.currentTarget.value)} />;
    case "datetime":
      return <DateField param={param} base={base} text={text} set={set} />;
    case "switch":
    case "checkbox": {
      const [off = "", on = ""] = choices(param, module);
      const Control = param.displayType === "switch" ? Switch : Checkbox;
      return (
        <Control
          label={
            <>
              {base.label}
              {base.withAsterisk && <span style={{ color: "var(--mantine-color-error)" }}> *</span>}{" "}
              <span className="muted small">{text || S.common.none}</span>
            </>
          }
          description={base.description}
          error={error}
          data-param={param.name}
          checked={text === on}
          onChange={(e) => set(e.currentTarget.checked ? on : off)}
        />
      );
    }
    case "list":
      return (
        <Select
          {...base}
          placeholder={S.commands.choose}
          data={[...new Set(choices(param, module))]}
          value={text || null}
          onChange={(next) => set(next ?? "")}
          clearable={!base.withAsterisk}
          searchable={choices(param, module).length > 8}
          comboboxProps={{ transitionProps: { duration: 120 }, shadow: "md" }}
        />
      );
    case "tos": {
      const url = safeUrl(param.description ?? "");
      return (
        <Checkbox
          data-param={param.name}
          label={
            <>
              {label(param)}
              {url && (
                <>
                  {" · "}
                  <Anchor href={url} target="_blank" rel="noopener noreferrer" inherit>
                    {S.commands.terms}
                  </Anchor>
                </>
              )}
            </>
          }
          description={url ? undefined : param.description}
          error={error}
          checked={value === true}
          onChange={(e) => set(e.currentTarget.checked)}
        />
      );
    }
    default: {
      const encoded = param.valueEncoding === "base64" ? S.commands.base64 : "";
      const description = [base.description, encoded].filter(Boolean).join(" · ") || undefined;
      const Control = param.displayMask ? PasswordInput : TextInput;
      return (
        <Control
          {...base}
          description={description}
          value={text}
          autoComplete="off"
          onChange={(e) => set(e.currentTarget.value)}
        />
      );
    }
  }
}

interface DateProps {
  param: Param;
  base: { label: string; description: string | undefined; error: string | undefined; withAsterisk: boolean };
  text: string;
  set: (value: string) => void;
}

/** A real popover for each of octo's three formats; the value is the device's local time, without a zone. */
function DateField({ param, base, text, set }: DateProps) {
  const description = [base.description, S.commands.deviceTime].filter(Boolean).join(" · ");
  const common = { ...base, description, clearable: !base.withAsterisk };
  if (param.displayFormat === "HH:MM") {
    return (
      <TimePicker
        {...common}
        format="24h"
        withDropdown
        value={text}
        onChange={set}
        rightSection={text && common.clearable ? undefined : <IconClock size={16} />}
        hoursInputLabel={`${base.label}: hours`}
        minutesInputLabel={`${base.label}: minutes`}
        popoverProps={{ shadow: "md" }}
      />
    );
  }
  if (param.displayFormat === "YYYY-MM-DD") {
    return (
      <DatePickerInput
        {...common}
        valueFormat="YYYY-MM-DD"
        placeholder={S.commands.pickDate}
        leftSection={<IconCalendar size={16} />}
        value={text || null}
        onChange={(next) => set(next ?? "")}
        popoverProps={{ shadow: "md" }}
      />
    );
  }
  return (
    <DateTimePicker
      {...common}
      valueFormat="YYYY-MM-DD HH:mm"
      placeholder={S.commands.pickDateTime}
      leftSection={<IconCalendar size={16} />}
      value={text ? `${text}:00` : null}
      onChange={(next) => set(next ? next.slice(0, 16) : "")}
      timePickerProps={{ format: "24h", withDropdown: true }}
      popoverProps={{ shadow: "md" }}
      submitButtonProps={{ "aria-label": S.common.done }}
    />
  );
}
