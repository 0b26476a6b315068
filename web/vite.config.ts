// SPDX-License-Identifier: Apache-2.0
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// Everything is relative to <base>, so that the page works below any path prefix.
export default defineConfig({
  base: "./",
  plugins: [react()],
  build: {
    target: "es2022",
    sourcemap: false,
    license: { fileName: "licenses.md" },
    chunkSizeWarningLimit: 900,
  },
  server: {
    proxy: {
      "/api": { target: "http://127.0.0.1:8080" },
      "/socket.io-client": { target: "http://127.0.0.1:8080", ws: true },
    },
  },
});
