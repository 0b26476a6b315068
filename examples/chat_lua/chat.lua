-- SPDX-License-Identifier: Apache-2.0
-- Chat rooms in Lua, with connmix's API. Rooms are channels, so they span all nodes of the mesh.
--
--     towline gateway --config examples/chat_lua/chat.yaml
--
-- Messages are JSON text. From the client: {"do": "join", "room", "name"}, {"do": "say", "text"}, {"do": "leave"},
-- {"do": "ping"}. To the client: {"is": "joined" | "said" | "left", "room", "name", "text"?}, {"is": "error", "text"}.

local rooms = require("rooms")

local function complain(conn, text)
  conn:send(mix.json_encode({is = "error", text = text}))
end

local actions = {
  join = function(conn, asked)
    local room, name = rooms.word(asked.room), rooms.word(asked.name)
    if not room or not name or room:find(" ") then
      complain(conn, "room and name have 1 to 40 characters, a room no spaces")
      return
    end
    rooms.leave(conn)
    rooms.join(conn, room, name)
  end,
  say = function(conn, asked)
    local text = asked.text
    if not conn:context_value("room") then
      complain(conn, "join a room first")
    elseif type(text) ~= "string" or #text == 0 or #text > 2000 then
      complain(conn, "a message has 1 to 2000 characters")
    else
      rooms.tell(conn, "said", text)
    end
  end,
  leave = function(conn) rooms.leave(conn) end,
  ping = function() end, -- any message keeps a connection from being closed as silent
}

function on_handshake(client_id, headers, server)
  local conn = mix.websocket()
  conn:send(mix.json_encode({is = "welcome", id = client_id}))
end

function on_message(msg)
  local conn = mix.websocket()
  local asked = mix.json_decode(msg.data)
  local action = type(asked) == "table" and actions[asked["do"]]
  if action then
    action(conn, asked)
  else
    complain(conn, 'send {"do": "join", "room": "...", "name": "..."}, {"do": "say", "text": "..."} or {"do": "leave"}')
  end
end

function on_close(client_id, err)
  rooms.leave(mix.websocket())
end
