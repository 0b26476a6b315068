// SPDX-License-Identifier: Apache-2.0
// Bun's own server (uWebSockets): /sub subscribes to its topic "ch", /pub publishes to it, anything else echoes.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    const path = new URL(request.url).pathname;
    return server.upgrade(request, { data: { path } }) ? undefined : new Response("no upgrade", { status: 400 });
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 0,
    open(socket) {
      if (socket.data.path === "/sub") socket.subscribe("ch");
    },
    message(socket, data) {
      if (socket.data.path === "/pub") server.publish("ch", data);
      else socket.send(data);
    },
  },
});
