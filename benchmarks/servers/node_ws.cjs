// SPDX-License-Identifier: Apache-2.0
// The npm package ws: /sub subscribes, /pub publishes, anything else echoes.
const { WebSocketServer, WebSocket } = require("ws");
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]), perMessageDeflate: false, backlog: 4096 });
const subscribers = new Set();
server.on("connection", (socket, request) => {
  socket.on("error", () => {});
  if (request.url === "/sub") {
    subscribers.add(socket);
    socket.on("close", () => subscribers.delete(socket));
  } else if (request.url === "/pub") {
    socket.on("message", (data, binary) => {
      for (const one of subscribers) if (one.readyState === WebSocket.OPEN) one.send(data, { binary });
    });
  } else {
    socket.on("message", (data, binary) => socket.send(data, { binary }));
  }
});
