// SPDX-License-Identifier: Apache-2.0
// One place for everything: devices, pages, commands of the open device, actions.

import { Modal, useMantineColorScheme } from "@mantine/core";
import { IconArrowRight, IconBolt, IconRouteAltLeft, IconSearch } from "@tabler/icons-react";
import { type KeyboardEvent, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { useNavigate } from "react-router";
import { useDeviceSearch } from "../api/queries";
import { hostOf } from "../lib/format";
import { useSettled } from "../lib/hooks";
import { useSession } from "../session";
import { S } from "../strings";
import { PresenceSign, writeClipboard } from "./bits";
import { type PaletteItem, useOfferedItems } from "./paletteItems";
import type { PresenceState } from "../api/types";

type Shown = PaletteItem & { presence?: PresenceState };

interface Props {
  opened: boolean;
  close: () => void;
  pages: { to: string; label: string }[];
  onShortcuts: () => void;
  onSignOut: () => void;
}

const GROUPS = ["devices", "commands", "pages", "actions"] as const;

export function Palette({ opened, close, pages, onShortcuts, onSignOut }: Props) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const settled = useSettled(text.trim(), 120);
  const found = useDeviceSearch(settled, opened);
  const offered = useOfferedItems();
  const navigate = useNavigate();
  const { workgroup } = useSession();
  const { setColorScheme } = useMantineColorScheme();
  const list = useRef<HTMLDivElement>(null);

  const input = useRef<HTMLInputElement>(null);
  const early = useRef<(event: globalThis.KeyboardEvent) => void>(() => {});

  // A quick hand types before the dialog has drawn itself and taken the focus: nothing of that may be lost.
  useLayoutEffect(() => {
    if (!opened) return;
    setText("");
    setAt(0);
    const heard = (event: globalThis.KeyboardEvent) => early.current(event);
    window.addEventListener("keydown", heard, true);
    return () => window.removeEventListener("keydown", heard, true);
  }, [opened]);

  const items = useMemo<Shown[]>(() => {
    const words = text.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (item: Shown) => {
      const whole = `${item.label} ${item.hint ?? ""}`.toLowerCase();
      return words.every((word) => whole.includes(word));
    };
    const listed: Shown[] = (found.data?.devices ?? []).map((device) => ({
      id: `device/${device.id}`,
      group: "devices",
      label: device.name,
      hint: hostOf(device.agent.address) || device.agent.hostname,
      presence: device.presence.state,
      run: () => void navigate(`/devices/${device.id}`),
    }));
    const fixed: Shown[] = [
      ...offered,
      ...pages.map((page) => ({
        id: `page${page.to}`,
        group: "pages" as const,
        label: page.label,
        run: () => void navigate(page.to),
      })),
      { id: "copy-workgroup", group: "actions", label: S.palette.copyWorkgroup, hint: workgroup.id, run: () => void writeClipboard(workgroup.id) },
      ...(["auto", "light", "dark"] as const).map((scheme) => ({
        id: `theme-${scheme}`,
        group: "actions" as const,
        label: `${S.profile.theme}: ${S.nav.theme[scheme]}`,
        run: () => setColorScheme(scheme),
      })),
      { id: "shortcuts", group: "actions", label: S.palette.shortcuts, run: onShortcuts },
      { id: "sign-out", group: "actions", label: S.nav.signOut, run: onSignOut },
    ];
    // Until the server has answered for what is typed now, its last answer is for something else.
    const answered = settled === text.trim() && !found.isPlaceholderData;
    const devices = answered ? listed : listed.filter(matches);
    const matching = fixed.filter(matches);
    return GROUPS.flatMap((group) => [...devices, ...matching].filter((item) => item.group === group));
  }, [found.data, found.isPlaceholderData, settled, offered, pages, workgroup.id, text, navigate, setColorScheme, onShortcuts, onSignOut]);

  const current = Math.min(at, Math.max(0, items.length - 1));
  useEffect(() => {
    list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }, [current]);

  const choose = (item: Shown | undefined) => {
    if (!item) return;
    close();
    item.run();
  };
  const keys = (event: KeyboardEvent) => {
    const by = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (by) {
      event.preventDefault();
      setAt((current + by + items.length) % Math.max(1, items.length));
    } else if (event.key === "Enter" && !event.nativeEvent.isComposing) {
      event.preventDefault();
      choose(items[current]);
    }
  };
  early.current = (event) => {
    if (input.current) {
      if (document.activeElement !== input.current) input.current.focus();
    } else if (event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      event.stopPropagation();
      setText((before) => before + event.key);
    } else if (event.key === "Enter") {
      event.preventDefault();
      choose(items[current]);
    }
  };

  return (
    <Modal
      opened={opened}
      onClose={close}
      withCloseButton={false}
      padding={0}
      size={620}
      yOffset="12vh"
      radius={10}
      aria-label={S.palette.title}
    >
      <div className="palette-input">
        <IconSearch size={17} className="muted" />
        <input
          ref={input}
          data-autofocus
          role="combobox"
          aria-expanded="true"
          aria-controls="palette-list"
          aria-activedescendant={items[current] ? `palette-${current}` : undefined}
          aria-label={S.palette.placeholder}
          placeholder={S.palette.placeholder}
          value={text}
          spellCheck={false}
          onChange={(event) => {
            setText(event.currentTarget.value);
            setAt(0);
          }}
          onKeyDown={keys}
        />
        <kbd>Esc</kbd>
      </div>
      <div className="palette-list" id="palette-list" role="listbox" aria-label={S.palette.title} ref={list}>
        {items.length === 0 && <p className="muted" style={{ padding: "12px 10px", margin: 0 }}>{S.palette.empty}</p>}
        {items.map((item, n) => (
          <div key={item.id}>
            {items[n - 1]?.group !== item.group && <div className="palette-group">{S.palette.groups[item.group]}</div>}
            <div
              id={`palette-${n}`}
              role="option"
              aria-selected={n === current}
              className="palette-item"
              onPointerMove={() => n !== current && setAt(n)}
              onClick={() => choose(item)}
            >
              {item.presence ? (
                <span className={`presence ${item.presence}`}>
                  <PresenceSign state={item.presence} />
                </span>
              ) : item.group === "pages" ? (
                <IconArrowRight size={15} className="muted" />
              ) : item.group === "commands" ? (
                <IconBolt size={15} className="muted" />
              ) : (
                <IconRouteAltLeft size={15} className="muted" />
              )}
              <span className="clip">{item.label}</span>
              {item.hint && <span className="muted small clip mono" style={{ flex: "0 1 auto", maxWidth: 220 }}>{item.hint}</span>}
            </div>
          </div>
        ))}
      </div>
      <div className="palette-foot hidephone">
        <span>
          <kbd>↑</kbd> <kbd>↓</kbd> {S.palette.hints.move}
        </span>
        <span>
          <kbd>Enter</kbd> {S.palette.hints.open}
        </span>
        <span>
          <kbd>Esc</kbd> {S.palette.hints.close}
        </span>
      </div>
    </Modal>
  );
}
