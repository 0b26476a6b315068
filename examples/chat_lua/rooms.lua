-- SPDX-License-Identifier: Apache-2.0
-- Rooms of the chat: what a client is in stands in its context.
local rooms = {}

-- Everybody in the client's room, on every node, the client included.
function rooms.tell(conn, what, text)
  local room, name = conn:context_value("room"), conn:context_value("name")
  mix.mesh.publish("room:" .. room, mix.json_encode({is = what, room = room, name = name, text = text}))
end

function rooms.join(conn, room, name)
  local err = conn:subscribe("room:" .. room)
  if err then
    conn:send(mix.json_encode({is = "error", text = err}))
    return
  end
  conn:set_context({room = room, name = name})
  rooms.tell(conn, "joined")
end

function rooms.leave(conn)
  local room = conn:context_value("room")
  if room then
    rooms.tell(conn, "left")
    conn:unsubscribe("room:" .. room)
    conn:set_context_value("room", nil)
  end
end

-- A name without spaces around it, nil when there is none or it is too long.
function rooms.word(value)
  if type(value) ~= "string" then return nil end
  value = value:match("^%s*(.-)%s*$")
  if #value == 0 or #value > 40 then return nil end
  return value
end

return rooms
