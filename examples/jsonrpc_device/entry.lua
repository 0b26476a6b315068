-- SPDX-License-Identifier: Apache-2.0
-- Devices that speak JSON-RPC 2.0 over plain TCP, one message a line. The same protocol as entry.py, which says more of it.

-- The protocol: bytes to messages and back.

function protocol_input(buf) -- the length of the first line; 0 while it is not all there
  return buf:tostring():find("\n", 1, true) or 0
end

function protocol_decode(str)
  if not str:find("%S") then return nil end -- an empty line is not passed on
  local message, err = mix.json_decode(str)
  if err then return {invalid = {code = -32700, message = "this line is not JSON"}} end
  if type(message) ~= "table" or message[1] ~= nil then
    return {invalid = {code = -32600, message = "a message is an object"}}
  end
  return {message = message}
end

function protocol_encode(str) -- what back ends publish or send; with a line break in it it would be two messages: refused
  return not str:find("\n", 1, true) and str .. "\n" or ""
end

-- Messages.

local function say(conn, message)
  message.jsonrpc = "2.0"
  conn:send(mix.json_encode(message) .. "\n") -- as it is: protocol_encode is for others' messages
end

-- JSON's null has no place in a Lua table, and "id": null belongs to the answer to what could not be understood.
local function complain(conn, id, failure)
  if id == nil then
    conn:send('{"error":' .. mix.json_encode(failure) .. ',"id":null,"jsonrpc":"2.0"}\n')
  else
    say(conn, {id = id, error = failure})
  end
end

local function pass_on(conn, topic, data) -- to the back ends, with the serial that the device registered with
  local serial = conn:context_value("serial")
  if not serial then return nil, {code = -32001, message = "register first"} end
  local waiting, err = mix.queue.push(topic, {serial = serial, data = data})
  if err then return nil, {code = -32003, message = "busy, try again later"} end
  return true
end

-- Each returns its result, or nil and what went wrong.
local methods = {
  register = function(conn, params)
    local serial = params.serial
    if type(serial) ~= "string" or #serial > 32 or not serial:find("^[%w-]+$") then
      return nil, {code = -32602, message = "serial has 1 to 32 letters, digits and hyphens"}
    end
    if conn:context_value("serial") then return nil, {code = -32002, message = "registered already"} end
    conn:set_context_value("serial", serial)
    conn:subscribe("device:" .. serial)
    return true
  end,
  report = function(conn, params) return pass_on(conn, "device.reports", params) end,
  time = function() return os.time() end, -- devices without a battery have no clock: seconds since 1970
}

local function call(conn, request)
  local method = methods[request.method]
  if not method then return nil, {code = -32601, message = "there are the methods register, report and time"} end
  if request.method ~= "register" and not conn:context_value("serial") then
    return nil, {code = -32001, message = "register first"}
  end
  return method(conn, type(request.params) == "table" and request.params or {})
end

function on_connect(client_id) end

function on_message(msg)
  local conn, message = mix.socket.tcp(), msg.message
  if msg.invalid then
    complain(conn, nil, msg.invalid)
  elseif message.method ~= nil then
    local result, failure = call(conn, message)
    if failure then
      complain(conn, message.id, failure)
    elseif message.id ~= nil then
      say(conn, {id = message.id, result = result})
    end
  elseif message.id ~= nil and (message.result ~= nil or message.error ~= nil) then
    local _, failure = pass_on(conn, "device.answers", message)
    if failure then complain(conn, message.id, failure) end
  else
    complain(conn, message.id, {code = -32600, message = "neither a request nor an answer"})
  end
end

function on_close(client_id, err) end -- its subscription ends by itself
