// SPDX-License-Identifier: Apache-2.0
// socket.io over WebSocket only: everybody with ?sub=1 is in the room "ch", the event "pub" reaches the room, "echo" comes back.
const { createServer } = require("http");
const { Server } = require("socket.io");
const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, pingInterval: 600000, serveClient: false });
io.on("connection", (socket) => {
  if (socket.handshake.query.sub) socket.join("ch");
  socket.on("pub", (data) => io.to("ch").emit("m", data));
  socket.on("echo", (data) => socket.emit("echo", data));
});
http.listen({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 4096 });
