-- SPDX-License-Identifier: Apache-2.0
-- The table `mix` of connmix's Lua API. What reaches outside is done by Python functions in `py`.
local py, json, await, current = ...

local char, find, sub, concat, tostring, type = string.char, string.find, string.sub, table.concat, tostring, type
local setmetatable, select, error, ipairs = setmetatable, select, error, ipairs
local tonumber, unpack, floor = tonumber, unpack, math.floor

local mix = {DEBUG = "DEBUG", INFO = "INFO", WARN = "WARN", ERROR = "ERROR"}

local OUTSIDE = "there is no connection: this is not inside a callback"

-- A text, from a text or a number; nil otherwise.
local function text(value)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "number" then return tostring(value) end
  return nil
end

local function need(value, name, call)
  local s = text(value)
  if not s then error(call .. ": " .. name .. " must be a text, not " .. type(value), 3) end
  return s
end

-- Values -------------------------------------------------------------------------------------------------------

mix.json_encode = json.encode
mix.json_decode = json.decode

local function of_text(name)
  local fn = py[name]
  mix[name] = function(s) return fn(need(s, "the argument", "mix." .. name)) end
end

for _, name in ipairs({"base64_encode", "md5", "md5_bin", "sha1", "sha1_bin"}) do of_text(name) end

local function or_error(name)
  local fn = py[name]
  mix[name] = function(s)
    s = text(s)
    if not s then return nil, "mix." .. name .. " takes a text" end
    return fn(s)
  end
end

for _, name in ipairs({"base64_decode", "parse_url", "parse_str"}) do or_error(name) end
mix.url_parse = mix.parse_url

function mix.php_pack(format, ...)
  local s = text(format)
  if not s then return nil, "mix.php_pack takes a format" end
  return py.php_pack(s, ...)
end

function mix.php_unpack(format, s)
  if not text(format) or not text(s) then return nil, "mix.php_unpack takes a format and a text" end
  return py.php_unpack(text(format), text(s))
end

function mix.str_split(s, separator)
  s, separator = need(s, "the text", "mix.str_split"), need(separator, "the separator", "mix.str_split")
  local out, n, from = {}, 0, 1
  if separator == "" then
    for i = 1, #s do out[i] = sub(s, i, i) end
    return out
  end
  while true do
    local a, b = find(s, separator, from, true)
    n = n + 1
    if not a then
      out[n] = sub(s, from)
      return out
    end
    out[n] = sub(s, from, a - 1)
    from = b + 1
  end
end

function mix.bytes_tostring(t)
  if type(t) ~= "table" then error("mix.bytes_tostring takes a table of bytes", 2) end
  local out, n = {}, #t
  for i = 1, n do
    local b = t[i]
    if type(b) ~= "number" or not (b >= 0 and b <= 255) then error("mix.bytes_tostring: item " .. i .. " is not 0 to 255", 2) end
    out[i] = char(b)
  end
  return concat(out, "", 1, n)
end

function mix.log(level, message)
  return py.log(text(level) or "INFO", tostring(message))
end

mix.server = {option = function(name) return py.option(need(name, "the name", "mix.server.option")) end}

-- The connection -----------------------------------------------------------------------------------------------

local methods = {}
local meta = {__index = methods}

local function connection(id) return setmetatable({_id = id}, meta) end

function mix.websocket()
  if py.raw then return nil, "this listener speaks raw TCP: use mix.socket.tcp()" end
  local id = current()
  if not id then return nil, OUTSIDE end
  return connection(id)
end

mix.socket = {tcp = function()
  if not py.raw then return nil, "this listener speaks WebSocket: use mix.websocket()" end
  local id = current()
  if not id then return nil, OUTSIDE end
  return connection(id)
end}

function methods:client_id() return self._id end
function methods:remote_addr() return py.remote_addr(self._id) end
function methods:context() return py.context(self._id) end
function methods:context_value(key) return py.context_value(self._id, need(key, "the key", "context_value")) end

function methods:wait_context_value(key)
  return await(py.wait_context_value(self._id, need(key, "the key", "wait_context_value")))
end

function methods:set_context(values)
  if type(values) ~= "table" then error("set_context takes a table", 2) end
  local problem = py.set_context(self._id, values)
  if problem then return nil, problem end
end

function methods:set_context_value(key, value)
  local problem = py.set_context_value(self._id, need(key, "the key", "set_context_value"), value)
  if problem then return nil, problem end
end

function methods:subscribe(...) return py.subscribe(self._id, ...) end
function methods:unsubscribe(...) return py.unsubscribe(self._id, ...) end
function methods:close() return py.close(self._id) end

function methods:send(data, kind)
  local s = text(data)
  if not s then return "send takes a text, not " .. type(data) end
  return py.send(self._id, s, kind)
end

if py.raw then
  function methods:clear_buffer() return py.clear_buffer(self._id) end
end

-- What protocol_input is given. Small ones are here; of a large one Python hands over what is read.
local bytes = {}
local bytes_meta = {__index = bytes}

local function buffer(id, data, size)
  return setmetatable({_id = id, _data = data, _size = size, _at = 0}, bytes_meta)
end

function bytes:length() return self._size end
function bytes:position() return self._at end

function bytes:tostring()
  if not self._data then
    local data, problem = py.buffer(self._id, 0, self._size)
    if not data then error(problem, 2) end
    self._data = data
  end
  return self._data
end

function bytes:read(n)
  n = tonumber(n)
  if not n or not (n >= 0) then return nil, "read takes a number of bytes" end
  local at = self._at
  local to = at + floor(n)      -- of math.huge too, which n % 1 makes no number
  if to > self._size then return nil, "only " .. self._size - at .. " bytes are left" end
  local data, problem
  if self._data then
    data = sub(self._data, at + 1, to)
  else
    data, problem = py.buffer(self._id, at, to)
    if not data then return nil, problem end
  end
  self._at = to
  return data
end

-- The mesh and the queues ----------------------------------------------------------------------------------------

mix.mesh = {}

function mix.mesh.send(client_id, data, kind)
  local id, s = text(client_id), text(data)
  if not id or not s then return "mix.mesh.send takes a client id and a text" end
  if not current() then return OUTSIDE end
  return await(py.mesh_send(current(), id, s, kind))
end

function mix.mesh.publish(channel, data, kind)
  local name, s = text(channel), text(data)
  if not name or not s then error("mix.mesh.publish takes a channel and a text", 2) end
  if not current() then error(OUTSIDE, 2) end
  return await(py.mesh_publish(current(), name, s, kind))
end

-- The first generation's mix.queue.new: topics are there as soon as they are pushed to, and as large as configured.
mix.queue = {new = function() end}

function mix.queue.push(topic, data)
  local name, kind = text(topic), type(data)
  if not name then return nil, "mix.queue.push takes a topic and data" end
  if kind == "string" then return await(py.queue_push(current(), name, data, false)) end
  if data == nil then return nil, "mix.queue.push: there is no data" end
  local encoded, problem = json.encode(data)
  if not encoded then return nil, problem end
  return await(py.queue_push(current(), name, encoded, true))
end

-- Redis and HTTP -------------------------------------------------------------------------------------------------

local redis = {}
local redis_meta = {__index = redis}
mix.redis = {}

function mix.redis.connection(name)
  name = text(name) or "default"
  local problem = py.redis_known(name)
  if problem then return nil, problem end
  return setmetatable({_name = name}, redis_meta)
end

function redis:command(...)
  if not current() then return nil, OUTSIDE end
  local parts, n = {...}, select("#", ...)
  if n == 0 then return nil, "a command is needed" end
  for i = 1, n do
    local part = parts[i]
    if type(part) == "boolean" then part = part and "1" or "0" end
    part = text(part)
    if not part then return nil, "argument " .. i .. " of the command must be a text or a number" end
    parts[i] = part
  end
  return await(py.redis(self._name, unpack(parts, 1, n)))
end

mix.http = {}

function mix.http.request(method, url, options)
  if not text(method) or not text(url) then return nil, "mix.http.request takes a method and an address" end
  if options ~= nil and type(options) ~= "table" then return nil, "the options must be a table" end
  if not current() then return nil, OUTSIDE end
  return await(py.http(text(method), text(url), options))
end

return mix, connection, buffer
