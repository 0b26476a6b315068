-- SPDX-License-Identifier: Apache-2.0
-- WebSocket (RFC 6455) on a raw TCP port, for scripts that have no protocols/websocket.lua of their own. A port with
-- protocol: websocket does it faster; this is for protocols that are nearly WebSocket.
--
--   function protocol_input(buf) return websocket.input(buf, on_handshake) end
--   function protocol_decode(str) return websocket.decode(str) end
--   function protocol_encode(str) return websocket.encode(str) end
--   function on_message(msg) websocket.send_text("hello") end       -- msg = {type=, data=, finish=}
--
-- The path is the port's option `path`. Calls of the API's first generation, which hand the connection over, work too:
-- input(buf, conn, path, on_handshake), decode(conn), send_text(conn, data); their on_handshake gets (headers, conn).
local bit = require("bit")
local band, bxor, lshift, rshift = bit.band, bit.bxor, bit.lshift, bit.rshift
local byte, char, find, lower, match, sub = string.byte, string.char, string.find, string.lower, string.match, string.sub
local concat, type, unpack = table.concat, type, unpack

local MAX_PAYLOAD, MAX_HEAD = 65535, 16384
local GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
local TYPES = {[0] = "continuation", [1] = "text", [2] = "binary", [8] = "close", [9] = "ping", [10] = "pong"}

local websocket = {}
local packets = {}

local function refused(why)
  mix.log(mix.DEBUG, "websocket: " .. why)
  return -1
end

-- Frames -------------------------------------------------------------------------------------------------------

local function frame(opcode, payload)
  local n = #payload
  if n < 126 then return char(0x80 + opcode, n) .. payload end
  if n < 65536 then return char(0x80 + opcode, 126, rshift(n, 8), band(n, 255)) .. payload end
  return char(0x80 + opcode, 127, 0, 0, 0, 0, rshift(n, 24), band(rshift(n, 16), 255), band(rshift(n, 8), 255), band(n, 255))
    .. payload
end

local function unmasked(key, data)
  local a, b, c, d = byte(key, 1, 4)
  local mask, out = {[0] = a, b, c, d}, {}
  for from = 1, #data, 4096 do
    local part = {byte(data, from, from + 4095)}
    for i = 1, #part do part[i] = bxor(part[i], mask[(from + i - 2) % 4]) end
    out[#out + 1] = char(unpack(part))
  end
  return concat(out)
end

-- Length of head and payload at the buffer's beginning, 0 for not there yet, or -1.
local function length(buf)
  local head = buf:read(2)
  if not head then return 0 end
  local first, second = byte(head, 1, 2)
  local opcode, n = band(first, 15), band(second, 127)
  if band(first, 0x70) ~= 0 then return refused("reserved bits are set") end
  if not TYPES[opcode] then return refused("no such frame") end
  if second < 128 then return refused("a frame is not masked") end
  if opcode >= 8 and (first < 128 or n > 125) then return refused("a control frame is cut or too long") end
  local size = 6
  if n == 126 then
    local more = buf:read(2)
    if not more then return 0 end
    n, size = byte(more, 1) * 256 + byte(more, 2), 8
  elseif n == 127 then
    local more = buf:read(8)
    if not more then return 0 end
    n, size = 0, 14
    for i = 1, 8 do n = n * 256 + byte(more, i) end
  end
  if n > MAX_PAYLOAD then return refused("a frame is too long") end
  return size + n
end

-- The handshake ------------------------------------------------------------------------------------------------

local function handshake(buf, conn, path)
  local all = buf:tostring()
  local stop = find(all, "\r\n\r\n", 1, true)
  if not stop then return #all > MAX_HEAD and refused("the request is too long") or 0 end
  local headers, server, seen = {}, nil, {}
  for number, line in ipairs(mix.str_split(sub(all, 1, stop - 1), "\r\n")) do
    if number == 1 then
      local method, uri, version = match(line, "^(%S+) (%S+) (HTTP/1%.1)$")
      if method ~= "GET" then return refused("no GET") end
      server = {Method = method, RequestUri = uri, ServerProtocol = version}
    else
      local name, value = match(line, "^([^:%s]+):[ \t]*(.-)[ \t]*$")
      if not name then return refused("a header is malformed") end
      if not seen[lower(name)] then headers[name], seen[lower(name)] = value, value end
    end
  end
  server.Host, server.RemoteAddr = seen.host or "", conn:remote_addr()
  if path and match(server.RequestUri, "^[^?]*") ~= path then return refused("no such path") end
  if lower(seen.upgrade or "") ~= "websocket" then return refused("no upgrade to websocket") end
  if not find(lower(seen.connection or ""), "upgrade", 1, true) then return refused("no Connection: Upgrade") end
  if seen["sec-websocket-version"] ~= "13" then return refused("the version is not 13") end
  local key = seen["sec-websocket-key"]
  if not key or #(mix.base64_decode(key) or "") ~= 16 then return refused("no key") end
  local err = conn:send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    .. mix.base64_encode(mix.sha1_bin(key .. GUID)) .. "\r\n\r\n")
  if err then return refused(err) end
  conn:set_context_value("__handshake", true)
  conn:set_context_value("headers", headers)
  return stop + 3, headers, server
end

-- What a script calls ------------------------------------------------------------------------------------------

function websocket.input(buf, a, b, c)
  local conn, path, on_handshake = a, b, c
  if type(a) ~= "table" then conn, path, on_handshake = mix.socket.tcp(), mix.server.option("path"), a end
  if conn:context_value("__handshake") then
    local n = length(buf)
    if type(a) == "table" and n > 0 then
      -- decode(conn) is not given the packet: it is kept from here, which takes that it is all there.
      if n > buf:length() then return 0 end
      packets[conn:client_id()] = sub(buf:tostring(), 1, n)
    end
    return n
  end
  local n, headers, server = handshake(buf, conn, path)
  if n > 0 and on_handshake then
    if type(a) == "table" then on_handshake(headers, conn) else on_handshake(conn:client_id(), headers, server) end
  end
  return n
end

-- A frame as a message. The request and pings are nil: they are answered here.
function websocket.decode(str)
  local conn = mix.socket.tcp()
  if type(str) == "table" then
    local id = conn:client_id()
    str, packets[id] = packets[id], nil
    if not str then return nil end                        -- the request
  end
  local first, second = byte(str, 1, 2)
  if first == 71 then return nil end                      -- G of GET: no frame begins so
  local n = band(second, 127)
  local at = n == 126 and 5 or n == 127 and 11 or 3
  local data = unmasked(sub(str, at, at + 3), sub(str, at + 4))
  local kind = TYPES[band(first, 15)]
  if kind == "ping" then
    conn:send(frame(10, data))
    return nil
  elseif kind == "pong" then
    return nil
  elseif kind == "close" then
    conn:send(frame(8, sub(data, 1, 2)))
    conn:close()
  end
  return {type = kind, data = data, finish = first >= 128}
end

function websocket.encode(str) return frame(1, str) end

local function sender(opcode)
  return function(a, b)
    if type(a) == "table" then return a:send(frame(opcode, b)) end
    return mix.socket.tcp():send(frame(opcode, a))
  end
end

websocket.send_text = sender(1)
websocket.send_binary = sender(2)

return websocket
