-- SPDX-License-Identifier: Apache-2.0
-- A user message centre: the client's side of it. Who a token belongs to is not decided here but by a back end
-- (backend.py), on whatever machine; this script asks it and holds the client until the answer has come.
--
-- Messages are JSON text. From the client: {"op": "auth", "token"}, {"op": "read", "up_to"}, {"op": "ping"}.
-- To the client: {"is": "signed_in", "user", "unread"}, {"is": "message", "id", "from", "text", "at"},
-- {"is": "error", "text"}.

local function complain(conn, text)
  conn:send(mix.json_encode({is = "error", text = text}))
end

-- Hands something to the back end. The event it gets names this client, and the node that the client is on.
local function ask(conn, topic, data)
  local waiting, err = mix.queue.push(topic, data)
  if err then -- nobody takes from the topic, and it is full
    mix.log(mix.WARN, topic .. ": " .. err)
    complain(conn, "busy, try again later")
    conn:close()
  end
  return not err
end

local actions = {
  auth = function(conn, asked)
    if conn:context_value("user") then
      complain(conn, "signed in already")
      return
    end
    if type(asked.token) ~= "string" then
      complain(conn, "token is missing")
      return
    end
    if not ask(conn, "centre.auth", {token = asked.token}) then return end
    -- This callback stops here until the back end sets the value with conn.call. What the client sends meanwhile waits,
    -- so a client may send "read" right behind "auth". Other clients are not held up.
    local user = conn:wait_context_value("user")
    if not user then -- false: refused. nil: the client has gone.
      complain(conn, "this token is not valid")
      conn:close()
    end
  end,
  read = function(conn, asked)
    local user, up_to = conn:context_value("user"), asked.up_to
    if not user then
      complain(conn, "sign in first")
    elseif type(up_to) ~= "number" then
      complain(conn, "up_to is the id of a message")
    else -- the name comes from the context, which only a back end sets, never from the client
      ask(conn, "centre.read", {user = user, up_to = up_to})
    end
  end,
  ping = function() end, -- any message keeps a connection from being closed as silent
}

function on_handshake(client_id, headers, server) end

function on_message(msg)
  local conn = mix.websocket()
  local asked = mix.json_decode(msg.data)
  local action = type(asked) == "table" and actions[asked.op]
  if action then
    action(conn, asked)
  else
    complain(conn, 'send {"op": "auth", "token": "..."}, {"op": "read", "up_to": 1} or {"op": "ping"}')
  end
end

function on_close(client_id, err) end -- its subscriptions end by themselves
