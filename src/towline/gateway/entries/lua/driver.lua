-- SPDX-License-Identifier: Apache-2.0
-- The first thing that runs in a Lua entry's machine: takes away what scripts must not have, sets the time limit,
-- and runs callbacks as coroutines so that calls that wait suspend one connection only.
--
-- Arguments: `py`, a table of Python functions; whether the listener is trusted; seconds that a callback may run.
local py, trusted, budget, json_source, mix_source = ...

local error, getmetatable, loadstring, next, select = error, getmetatable, loadstring, next, select
local setfenv, tostring, type, rawget = setfenv, tostring, type, rawget
local byte, gsub, concat = string.byte, string.gsub, table.concat
local getinfo, getlocal, pcall, setmetatable, xpcall = debug.getinfo, debug.getlocal, pcall, setmetatable, xpcall
local create, resume, running, yield = coroutine.create, coroutine.resume, coroutine.running, coroutine.yield
local status, traceback, sethook, count = coroutine.status, debug.traceback, debug.sethook, collectgarbage
local now = py.now

-- Time ---------------------------------------------------------------------------------------------------------

local STEP = 10000     -- instructions between two looks at the clock
local started = nil    -- when the hook first saw the present run
local over = "stopped: it ran for longer than " .. budget * 1000 .. " ms"

local work

local function hook()
  if running() == nil or getinfo(2, "f").func == work then      -- the driver's own code
    sethook(hook, "", STEP)
  elseif started == nil then
    started = now()
  elseif now() - started > budget then
    sethook(hook, "", 1)        -- so that no pcall of the script keeps it running
    error(over, 2)
  end
end

if trusted then
  collectgarbage("setpause", 150)
else
  jit.off()
  collectgarbage("setpause", 130)
  sethook(hook, "", STEP)
end

-- Callbacks as coroutines --------------------------------------------------------------------------------------

local DONE, AWAIT = {}, {}
local idle, resting = {}, 0
local waiting, number = {}, 0
local current = nil    -- client id of the connection whose callback runs
local result = nil     -- what the callback that ended last returned
local callbacks = {}
local conn_at = {}     -- for a callback that takes the connection: which of its arguments that is

-- Lua 5.1 lets 200 protected calls nest. LuaJIT lets the stack run full, where the hook has no room to run.
local MAX_NESTED = 190
local depth = setmetatable({}, {__mode = "k"})

local function left(co, level, ...)
  depth[co] = level
  return ...
end

local function entered()
  local co = running()
  local level = depth[co] or 0
  if level >= MAX_NESTED then error("stack overflow: more than " .. MAX_NESTED .. " protected calls inside each other", 3) end
  depth[co] = level + 1
  return co, level
end

-- debug.traceback is a C function: the hook that stops a script does not run inside it.
function work(fn, a, b, c)
  while true do
    local ok, problem = xpcall(fn, traceback, a, b, c)
    fn, a, b, c = yield(DONE, ok, problem)
  end
end

-- nil: finished. A number: waits under this number. false and a text: failed.
local function after(co, ok, what, fine, problem)
  current = nil
  if what ~= AWAIT then depth[co] = nil end
  if not ok then
    if not trusted then sethook(hook, "", STEP) end
    return false, traceback(co, tostring(what))
  elseif what == DONE then
    if resting < 64 then
      resting = resting + 1
      idle[resting] = co
    end
    if not fine then return false, type(problem) == "string" and problem or "an error that is a " .. type(problem) end
    result = problem
    return nil
  elseif what == AWAIT then
    number = number + 1
    waiting[number] = co
    return number
  end
  return false, traceback(co, "a callback yielded outside of a coroutine of its own")
end

local function run(id, fn, a, b, c)
  local co
  if resting > 0 then
    co = idle[resting]
    idle[resting] = nil
    resting = resting - 1
  else
    co = create(work)
  end
  current, started = id, nil
  return after(co, resume(co, fn, a, b, c))
end

local function go_on(key, id, ...)
  local co = waiting[key]
  waiting[key] = nil
  if not co or status(co) ~= "suspended" then return false, "the callback that waited is gone" end
  current, started = id, nil
  return after(co, resume(co, ...))
end

-- What a Python function began: its values, or, when it has to wait, those of later.
local function await(ready, ...)
  if ready then return ... end
  return yield(AWAIT)
end

-- Coroutines of the script: what waits inside one suspends the whole callback.
local function through(co, ok, what, ...)
  if ok and what == AWAIT then return through(co, resume(co, yield(AWAIT))) end
  return ok, what, ...
end

local function unwrapped(ok, ...)
  if ok then return ... end
  error((...), 0)
end

-- The environment ----------------------------------------------------------------------------------------------

local function copy(from, names)
  local to = {}
  for name in names:gmatch("%S+") do to[name] = from[name] end
  return to
end

local new_json = loadstring(json_source, "=[json]")
local new_mix = loadstring(mix_source, "=[mix]")

local env = copy(_G, [[assert error ipairs next pairs rawequal rawget rawset select setmetatable tonumber
  tostring type unpack setfenv getfenv _VERSION]])
env.table = copy(table, "concat foreach foreachi getn insert maxn remove sort")
env.math = copy(math, [[abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max min
  mod modf pi pow rad random randomseed sin sinh sqrt tan tanh]])
env.os = copy(os, "clock date difftime time")
env.bit = copy(bit, "arshift band bnot bor bswap bxor lshift rol ror rshift tobit tohex")
env.math.mod = math.fmod           -- the names of Lua 5.0, which 5.1 has still
string.gfind = string.gfind or string.gmatch
env.string = copy(string, "byte char find format gfind gmatch gsub len lower match rep reverse sub upper")
env.debug = {traceback = function(...) return traceback(...) end}
env.coroutine = {
  create = create, running = running, status = status, yield = yield,
  resume = function(co, ...) return through(co, resume(co, ...)) end,
  wrap = function(fn)
    local co = create(fn)
    return function(...) return unwrapped(through(co, resume(co, ...))) end
  end,
}
getmetatable("").__index = env.string

local function handled(handler, ok, ...)
  if ok then return ok, ... end
  return false, handler(...)
end

function env.pcall(fn, ...)
  local co, level = entered()
  return left(co, level, pcall(fn, ...))
end

function env.xpcall(fn, handler, ...)
  local co, level = entered()
  -- A handler that loops could not be stopped inside LuaJIT's own call of it: others run once the stack is unwound.
  if handler == env.debug.traceback then return left(co, level, xpcall(fn, traceback, ...)) end
  return left(co, level, handled(handler, pcall(fn, ...)))
end

function env.getmetatable(value)
  if type(value) == "userdata" then return nil end
  return getmetatable(value)
end

function env.collectgarbage(what)
  return what == "count" and count("count") or 0
end

local function out(...)
  local n, parts = select("#", ...), {...}
  for i = 1, n do parts[i] = tostring(parts[i]) end
  return parts, n
end

function env.print(...)
  local parts, n = out(...)
  py.print(concat(parts, "\t", 1, n) .. "\n")
end

env.io = {write = function(...)
  local parts, n = out(...)
  py.print(concat(parts, "", 1, n))
end}

local function compile(source, name)
  if byte(source, 1) == 27 then return nil, "compiled Lua is not taken" end
  return loadstring(source, name)
end

function env.loadstring(source, name)
  if type(source) ~= "string" then error("loadstring takes a text", 2) end
  return compile(source, name or source)
end

function env.load(reader, name)
  local parts, n = {}, 0
  while true do
    local part = reader()
    if part == nil or part == "" then break end
    n = n + 1
    parts[n] = part
  end
  return compile(concat(parts), name or "=(load)")
end

-- Modules ------------------------------------------------------------------------------------------------------

local LOADING = {}
local loaded = {string = env.string, table = env.table, math = env.math, os = env.os, bit = env.bit,
                coroutine = env.coroutine, _G = env}
env.package = {loaded = loaded, path = "?.lua;?/init.lua", cpath = ""}

function env.require(name)
  if type(name) ~= "string" then error("require takes a text", 2) end
  local key = gsub(name, "/", ".")
  local value = loaded[key]
  if value == LOADING then error("module '" .. name .. "' is required while it loads", 2) end
  if value ~= nil then return value end
  local source, chunk = py.module(key)
  if not source then error(chunk, 2) end
  local fn, problem = compile(source, "@" .. chunk)
  if not fn then error(problem, 0) end
  loaded[key] = LOADING
  value = fn(name)
  if value ~= nil then
    loaded[key] = value
  elseif loaded[key] == LOADING then
    loaded[key] = true
  end
  return loaded[key]
end

function env.package.seeall(module)
  local meta = getmetatable(module) or {}
  meta.__index = env
  env.setmetatable(module, meta)
end

function env.module(name, ...)
  local module = loaded[name]
  if type(module) ~= "table" then module = {} end
  loaded[name] = module
  if rawget(env, name) == nil then env[name] = module end
  module._M, module._NAME = module, name
  for i = 1, select("#", ...) do select(i, ...)(module) end
  setfenv(2, module)
end

-- The machine's own globals become the script's: nothing else can be reached by getfenv.
local real = _G
local names = {}
for name in next, real do names[#names + 1] = name end
for _, name in next, names do real[name] = nil end
for name, value in next, env do real[name] = value end
real._G, loaded._G = real, real
env = real

local json = new_json(py)
local connection, buffer
env.mix, connection, buffer = new_mix(py, json, await, function() return current end)
loaded.mix = env.mix

-- What Python calls --------------------------------------------------------------------------------------------

-- Runs the script; nil, or an error and its traceback. Scripts of the API's first generation do more in init().
local function load_script(source, name)
  local fn, problem = compile(source, "@" .. name)
  if not fn then return problem end
  local ok, text = run(nil, fn)
  local init = rawget(env, "init")
  if ok == nil and type(init) == "function" and getinfo(init, "u").nparams == 0 then ok, text = run(nil, init) end
  if ok == false then return text end
  if ok then return "the script waits while it loads; only callbacks may" end
  return nil
end

-- The first generation's callbacks were given the connection as last argument, after `count` others.
local function take(name, count)
  local fn = rawget(env, name)
  callbacks[name], conn_at[name] = fn, nil
  if type(fn) ~= "function" then return fn == nil and "nil" or type(fn) end
  local given = getinfo(fn, "u").nparams
  for i = 1, given do
    if getlocal(fn, i) == "conn" then conn_at[name] = i end
  end
  if given > count and not conn_at[name] then conn_at[name] = count + 1 end
  return "function"
end

-- A callback given the client's id and something, or of the first generation: `conn` in the id's place or behind it.
local function with_id(id, name, a, b)
  local fn, at = callbacks[name], conn_at[name]
  if not at then return run(id, fn, id, a, b) end
  local conn = connection(id)
  if at == 1 then return run(id, fn, conn) end
  if name == "on_connect" then return run(id, fn, id, conn) end
  if at == 2 then return run(id, fn, a, conn) end
  return run(id, fn, id, a, conn)
end

local function with_conn(id, name, a)
  if conn_at[name] == 1 then return run(id, callbacks[name], connection(id), a) end
  return run(id, callbacks[name], a, conn_at[name] and connection(id))
end

local function close(id, problem) return with_id(id, "on_close", problem) end

local function handshake(id, headers, server)
  if not callbacks.on_handshake then return run(id, callbacks.on_connect, id, headers) end
  if conn_at.on_handshake == 1 then return run(id, callbacks.on_handshake, connection(id), headers, server) end
  if conn_at.on_handshake == 2 then return run(id, callbacks.on_handshake, headers, connection(id)) end
  return run(id, callbacks.on_handshake, id, headers, server)
end

local function message(id, kind, data)
  return with_conn(id, "on_message", {type = kind, data = data, finish = true})
end

-- Of a callback whose value counts: nil and the value; a number: waits; false and a text: failed.
local function valued(ok, text)
  if ok == nil then return nil, result end
  return ok, text
end

local function input(id, data, size) return valued(with_conn(id, "protocol_input", buffer(id, data, size))) end
local function decode(id, packet) return valued(with_conn(id, "protocol_decode", packet)) end

-- Runs inside another callback when that one sends or publishes.
local function encode(id, data)
  local outer, since = current, started
  local ok, text = with_conn(id, "protocol_encode", data)
  current, started = outer, since
  if ok then
    waiting[ok] = nil
    return false, "protocol_encode waits; it must not"
  end
  return valued(ok, text)
end

return {load = load_script, take = take, message = message, handshake = handshake, close = close, go_on = go_on,
        connect = function(id) return with_id(id, "on_connect") end,
        input = input, decode = decode, encode = encode,
        raw_message = function(id, value) return with_conn(id, "on_message", value) end,
        go_on_valued = function(...) return valued(go_on(...)) end,
        drop = function(key) waiting[key] = nil end}
