// SPDX-License-Identifier: Apache-2.0
// Neutral surfaces, one accent; green, amber, red and grey only for state.

import { createTheme, type CSSVariablesResolver, type MantineColorsTuple } from "@mantine/core";

const tow: MantineColorsTuple = [
  "#ebf2fe", "#d5e3fc", "#a9c6f8", "#7dabf5", "#5691f0", "#3a7cea", "#1f66d6", "#1a58ba", "#16499a", "#123a7a",
];
const gray: MantineColorsTuple = [
  "#f7f8fa", "#eff1f4", "#e3e6ea", "#d3d8de", "#b9c0c9", "#8f98a4", "#626c79", "#4a535f", "#313841", "#1a1e24",
];
const dark: MantineColorsTuple = [
  "#e3e7ec", "#c6cdd6", "#98a3b1", "#76818f", "#333b45", "#262d35", "#1a1f26", "#14181d", "#0e1114", "#090b0d",
];

/** Panels stand on the surface colour; the body colour is what lies below the cards. */
const PANEL = {
  content: { backgroundColor: "var(--tl-surface)" },
  header: { backgroundColor: "var(--tl-surface)" },
};

export const theme = createTheme({
  primaryColor: "tow",
  primaryShade: 6,
  colors: { tow, gray, dark },
  white: "#ffffff",
  black: "#15191e",
  fontFamily: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', sans-serif",
  fontFamilyMonospace: "ui-monospace, 'SF Mono', SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace",
  fontSizes: { xs: "11.5px", sm: "12.5px", md: "13.5px", lg: "15px", xl: "20px" },
  lineHeights: { xs: "1.35", sm: "1.4", md: "1.45", lg: "1.4", xl: "1.25" },
  headings: { fontWeight: "620", sizes: { h1: { fontSize: "20px", lineHeight: "1.25" }, h2: { fontSize: "14px", lineHeight: "1.3" } } },
  defaultRadius: 6,
  radius: { xs: "3px", sm: "4px", md: "6px", lg: "8px", xl: "12px" },
  spacing: { xs: "8px", sm: "12px", md: "16px", lg: "20px", xl: "28px" },
  respectReducedMotion: true,
  cursorType: "pointer",
  focusRing: "auto",
  components: {
    Button: { defaultProps: { size: "sm" } },
    TextInput: { defaultProps: { size: "sm" } },
    PasswordInput: { defaultProps: { size: "sm" } },
    Textarea: { defaultProps: { size: "sm" } },
    Select: { defaultProps: { size: "sm", checkIconPosition: "right" } },
    Modal: { defaultProps: { transitionProps: { duration: 140 }, overlayProps: { backgroundOpacity: 0.4 }, styles: PANEL } },
    Drawer: { defaultProps: { transitionProps: { duration: 150 }, overlayProps: { backgroundOpacity: 0.3 }, styles: PANEL } },
    Tooltip: { defaultProps: { openDelay: 250, transitionProps: { duration: 120 }, withArrow: false } },
    Menu: { defaultProps: { transitionProps: { duration: 120 }, shadow: "md" } },
    Popover: { defaultProps: { transitionProps: { duration: 120 }, shadow: "md" } },
  },
});

const light = {
  "--mantine-color-body": "#f4f5f7",
  "--mantine-color-text": "#15191e",
  "--mantine-color-dimmed": "#5d6773",
  "--mantine-color-placeholder": "#69737f",
  "--mantine-color-default": "#ffffff",
  "--mantine-color-default-hover": "#f4f6f8",
  "--mantine-color-default-border": "#d3d8de",
  "--mantine-color-anchor": "#1a58ba",
  "--mantine-color-error": "#c02b2b",
  "--tl-surface": "#ffffff",
  "--tl-raised": "#ffffff",
  "--tl-sunken": "#f4f5f7",
  "--tl-hover": "#f1f4f8",
  "--tl-line": "#e0e4e8",
  "--tl-line-strong": "#c8ced5",
  "--tl-text": "#15191e",
  "--tl-muted": "#5d6773",
  "--tl-accent": "#1f66d6",
  "--tl-accent-text": "#1a58ba",
  "--tl-accent-soft": "#e8f0fd",
  "--tl-good": "#11774a",
  "--tl-good-soft": "#e2f4ea",
  "--tl-warn": "#8f5a00",
  "--tl-warn-soft": "#fdf1da",
  "--tl-bad": "#c02b2b",
  "--tl-bad-soft": "#fce9e8",
  "--tl-shadow": "0 1px 2px rgba(20, 28, 38, 0.05)",
  "--tl-console": "#11151a",
  "--tl-console-text": "#dbe1e8",
  "--tl-grid": "#e8ebee",
};

const night = {
  "--mantine-color-body": "#0e1114",
  "--mantine-color-text": "#e3e7ec",
  "--mantine-color-dimmed": "#98a3b1",
  "--mantine-color-placeholder": "#7f8a98",
  "--mantine-color-default": "#1a1f26",
  "--mantine-color-default-hover": "#222932",
  "--mantine-color-default-border": "#333b45",
  "--mantine-color-anchor": "#86b3fb",
  "--mantine-color-error": "#ff8a80",
  "--tl-surface": "#14181d",
  "--tl-raised": "#1a1f26",
  "--tl-sunken": "#0e1114",
  "--tl-hover": "#1b2129",
  "--tl-line": "#252c34",
  "--tl-line-strong": "#3a434e",
  "--tl-text": "#e3e7ec",
  "--tl-muted": "#98a3b1",
  "--tl-accent": "#4f8ef2",
  "--tl-accent-text": "#86b3fb",
  "--tl-accent-soft": "#16263f",
  "--tl-good": "#4cc38a",
  "--tl-good-soft": "#10291e",
  "--tl-warn": "#f0b44c",
  "--tl-warn-soft": "#2e2410",
  "--tl-bad": "#ff8a80",
  "--tl-bad-soft": "#35191a",
  "--tl-shadow": "none",
  "--tl-console": "#0a0d10",
  "--tl-console-text": "#dbe1e8",
  "--tl-grid": "#20262d",
};

export const variables: CSSVariablesResolver = () => ({ variables: {}, light, dark: night });

/** Told apart by the colour-blind too; after four, the dash pattern differs as well. */
export const SERIES = {
  light: ["#1f66d6", "#cf5a00", "#00845f", "#b0478f", "#7a6a00", "#2c93c9", "#7443b8", "#59646f"],
  dark: ["#6ba5ff", "#ff9d4d", "#35c99a", "#f08cc6", "#dcc748", "#69c9f5", "#b394f5", "#a8b3bf"],
};
