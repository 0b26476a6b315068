// SPDX-License-Identifier: Apache-2.0

import "@mantine/core/styles.css";
import "@mantine/dates/styles.css";
import "@mantine/notifications/styles.css";
import "./styles.css";

import { localStorageColorSchemeManager, MantineProvider } from "@mantine/core";
import { DatesProvider } from "@mantine/dates";
import { Notifications } from "@mantine/notifications";
import { QueryClientProvider } from "@tanstack/react-query";
import { setNonce } from "get-nonce";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { BrowserRouter } from "react-router";
import { App } from "./App";
import { BASE } from "./api/client";
import { client } from "./api/queries";
import { Boundary } from "./components/Boundary";
import { theme, variables } from "./theme";

// Styles made at run time carry the nonce that the server's content security policy names.
const nonce = document.querySelector<HTMLMetaElement>("meta[name=towline-nonce]")?.content ?? "";
setNonce(nonce);

const schemes = localStorageColorSchemeManager({ key: "towline-theme" });
const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <MantineProvider
        theme={theme}
        cssVariablesResolver={variables}
        colorSchemeManager={schemes}
        defaultColorScheme="auto"
        getStyleNonce={() => nonce}
      >
        <QueryClientProvider client={client}>
          <DatesProvider settings={{ firstDayOfWeek: 1, weekendDays: [] }}>
            <Boundary>
            <BrowserRouter basename={BASE.replace(/\/$/, "")}>
              <App />
            </BrowserRouter>
            </Boundary>
          </DatesProvider>
          <Notifications position="bottom-right" limit={3} autoClose={3500} />
        </QueryClientProvider>
      </MantineProvider>
    </StrictMode>,
  );
}
