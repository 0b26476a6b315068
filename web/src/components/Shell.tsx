// SPDX-License-Identifier: Apache-2.0
// What is around every page: top bar, palette, keyboard, and the word on whether the connection stands.

import { ActionIcon, Menu, Modal, Tooltip, useComputedColorScheme, useMantineColorScheme } from "@mantine/core";
import {
  IconCheck,
  IconChevronDown,
  IconDevices2,
  IconHistory,
  IconKey,
  IconLogout,
  IconMoon,
  IconPlugConnected,
  IconPlugConnectedX,
  IconSearch,
  IconSun,
  IconTopologyStar3,
  IconUser,
} from "@tabler/icons-react";
import { Suspense, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { Link, NavLink, Outlet, useLocation, useNavigate } from "react-router";
import { remove } from "../api/client";
import { live } from "../api/live";
import { client, useLive, useWorkgroupFeed } from "../api/queries";
import { useNow } from "../lib/hooks";
import { span } from "../lib/time";
import { leave, useMay, useSession } from "../session";
import { S } from "../strings";
import { Boundary } from "./Boundary";
import { SkeletonRows } from "./bits";
import { Mark } from "./Mark";
import { Palette } from "./Palette";

const MOD = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";

export function useSignOut(): () => void {
  return useCallback(() => {
    leave();
    void remove("/session")
      .catch(() => undefined)
      .then(() => client.cancelQueries({ queryKey: ["session"] })) // its answer may be from before
      .then(() => {
        live.disconnect();
        client.setQueryData(["session"], null);
      });
  }, []);
}

export function Shell() {
  const session = useSession();
  const may = useMay();
  const mayAudit = may("read_audit");
  const [palette, setPalette] = useState(false);
  const [shortcuts, setShortcuts] = useState(false);
  const signOut = useSignOut();
  const location = useLocation();
  useWorkgroupFeed();

  const pages = useMemo(
    () => [
      { to: "/devices", label: S.nav.devices, icon: IconDevices2 },
      { to: "/plugins", label: S.nav.plugins, icon: IconPlugConnected },
      { to: "/gateway", label: S.nav.gateway, icon: IconTopologyStar3 },
      { to: "/access", label: S.nav.access, icon: IconKey },
      ...(mayAudit ? [{ to: "/audit", label: S.nav.audit, icon: IconHistory }] : []),
    ],
    [mayAudit],
  );
  const all = useMemo(() => [...pages, { to: "/profile", label: S.nav.profile, icon: IconUser }], [pages]);
  const openShortcuts = useCallback(() => setShortcuts(true), []);
  useKeyboard({ openPalette: () => setPalette(true), openShortcuts });
  const { lost, banner } = useBanner();

  useEffect(() => {
    window.scrollTo(0, 0);
  }, [location.pathname]);

  return (
    <div className={[banner ? "hasbanner" : "", lost ? "lost" : ""].join(" ")}>
      <a
        className="skip"
        href={window.location.pathname}
        onClick={(event) => {
          event.preventDefault();
          document.getElementById("main")?.focus();
        }}
      >
        {S.nav.skip}
      </a>
      <header className="top">
        <Link to="/devices" className="brand" aria-label={`${S.product}: ${S.nav.devices}`}>
          <Mark />
          {S.product}
        </Link>
        <nav className="topnav" aria-label="Pages">
          {pages.map((page) => (
            <NavLink key={page.to} to={page.to}>
              {page.label}
            </NavLink>
          ))}
        </nav>
        <span className="grow" />
        <button type="button" className="searchbox" onClick={() => setPalette(true)} aria-label={S.nav.searchLabel}>
          <IconSearch size={15} />
          <span>{S.nav.searchPlaceholder}</span>
          <kbd>{MOD} K</kbd>
        </button>
        <ThemeSwitch />
        <Menu position="bottom-end" width={220}>
          <Menu.Target>
            <button type="button" className="plain row" aria-label={S.nav.menu} style={{ height: 36, gap: 6, padding: "0 4px" }}>
              <Avatar name={session.user.display_name || session.user.name} />
              <IconChevronDown size={14} className="muted hidephone" />
            </button>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Label>
              {session.user.display_name || session.user.name}
              <br />
              <span className="mono">{session.workgroup.id}</span>
            </Menu.Label>
            <Menu.Item component={Link} to="/profile" leftSection={<IconUser size={15} />}>
              {S.nav.profile}
            </Menu.Item>
            <Menu.Item leftSection={<IconLogout size={15} />} onClick={signOut}>
              {S.nav.signOut}
            </Menu.Item>
          </Menu.Dropdown>
        </Menu>
      </header>
      {banner}
      <main className="main" id="main" tabIndex={-1} style={{ outline: "none" }}>
        <Boundary key={location.pathname}>
          <Suspense fallback={<SkeletonRows rows={6} />}>
            <Outlet />
          </Suspense>
        </Boundary>
      </main>
      <nav className="bottomnav" aria-label="Pages">
        {all.map(({ to, label, icon: Icon }) => (
          <NavLink key={to} to={to}>
            <Icon size={20} />
            {label}
          </NavLink>
        ))}
      </nav>
      <Palette opened={palette} close={() => setPalette(false)} pages={all} onShortcuts={openShortcuts} onSignOut={signOut} />
      <Modal opened={shortcuts} onClose={() => setShortcuts(false)} title={S.shortcuts.title} size={380}>
        <dl className="facts">
          {S.shortcuts.rows.map(([keys, what]) => [
            <dt key={keys}>
              {keys.split(" ").map((key) => (
                <span key={key}>
                  <kbd>{key === "mod" ? MOD : key}</kbd>{" "}
                </span>
              ))}
            </dt>,
            <dd key={what}>{what}</dd>,
          ])}
        </dl>
      </Modal>
    </div>
  );
}

function Avatar({ name }: { name: string }) {
  const letters = name.split(/[\s._-]+/).map((word) => word[0] ?? "").join("").slice(0, 2).toUpperCase();
  return (
    <span
      aria-hidden="true"
      style={{ width: 28, height: 28, borderRadius: 14, display: "grid", placeItems: "center", fontSize: 11, fontWeight: 650, background: "var(--tl-accent-soft)", color: "var(--tl-accent-text)" }}
    >
      {letters}
    </span>
  );
}

function ThemeSwitch() {
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme("light");
  return (
    <Tooltip label={S.nav.theme.toggle}>
      <ActionIcon variant="subtle" color="gray" size={34} aria-label={S.nav.theme.toggle} onClick={() => setColorScheme(scheme === "dark" ? "light" : "dark")}>
        {scheme === "dark" ? <IconSun size={18} /> : <IconMoon size={18} />}
      </ActionIcon>
    </Tooltip>
  );
}

/** Lost: since when, what was not lost, try now. Restored: a few seconds of good news. */
function useBanner() {
  const state = useLive();
  const now = useNow(1000);
  const [seen, setSeen] = useState(state.restored);
  const timer = useRef<number | undefined>(undefined);
  const fresh = state.status === "live" && state.restored > seen;
  useEffect(() => {
    if (!fresh) return;
    const restored = state.restored;
    timer.current = window.setTimeout(() => setSeen(restored), 4000);
    return () => window.clearTimeout(timer.current);
  }, [fresh, state.restored]);
  const lost = state.status === "lost";
  const banner = lost ? (
    <div className="banner" role="alert" data-testid="lost">
      <IconPlugConnectedX size={18} className="sign" />
      <span className="grow">
        <b className="num">{S.live.lostFor(span(now - state.since))}</b> {S.live.lostKept}
      </span>
      <button type="button" className="plain link nowrap" onClick={() => live.retryNow()}>
        {S.live.retryNow}
      </button>
    </div>
  ) : fresh ? (
    <div className="banner good" role="status" data-testid="restored">
      <IconCheck size={18} className="sign" />
      <span>{S.live.restored}</span>
    </div>
  ) : null;
  return { lost, banner };
}

function useKeyboard({ openPalette, openShortcuts }: { openPalette: () => void; openShortcuts: () => void }) {
  const navigate = useNavigate();
  const actions = useRef({ openPalette, openShortcuts, navigate });
  actions.current = { openPalette, openShortcuts, navigate };
  useEffect(() => {
    let goSince = 0;
    const listen = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.isComposing) return;
      const { openPalette, openShortcuts, navigate } = actions.current;
      if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        openPalette();
        return;
      }
      const target = event.target as HTMLElement;
      const typing = target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
      if (typing || event.metaKey || event.ctrlKey || event.altKey || document.querySelector("[role=dialog]")) return;
      if (event.key === "/") {
        event.preventDefault();
        const find = document.querySelector<HTMLInputElement>("[data-find]");
        if (find) find.focus();
        else openPalette();
      } else if (event.key === "?") {
        openShortcuts();
      } else if (event.key === "g" && Date.now() - goSince >= 1200) {
        goSince = Date.now();
        return;
      } else if (Date.now() - goSince < 1200) {
        const to = { d: "/devices", p: "/plugins", g: "/gateway", a: "/access", l: "/audit", u: "/profile" }[event.key];
        if (to) void navigate(to);
      }
      goSince = 0;
    };
    window.addEventListener("keydown", listen);
    return () => window.removeEventListener("keydown", listen);
  }, []);
}
