-- SPDX-License-Identifier: Apache-2.0
-- JSON for scripts, in Lua: the limits of time and memory hold inside, and no value crosses to Python one by one.
-- encode(v) and decode(s) return a value, or nil and what was wrong.
local py = ...

local byte, char, find, format, gsub, sub = string.byte, string.char, string.find, string.format, string.gsub, string.sub
local concat, sort, floor = table.concat, table.sort, math.floor
local error, next, pcall, tonumber, tostring, type = error, next, pcall, tonumber, tostring, type

local MAX_DEPTH = 200

local ESCAPES = {['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\b"] = "\\b",
                 ["\f"] = "\\f"}
for i = 0, 31 do
  local c = char(i)
  ESCAPES[c] = ESCAPES[c] or format("\\u%04x", i)
end

local function quoted(s)
  if find(s, '[%c"\\\128-\255]') then
    if find(s, "[\128-\255]") then s = py.utf8(s) end
    s = gsub(s, '[%c"\\]', ESCAPES)
  end
  return '"' .. s .. '"'
end

local function number(n)
  if n ~= n or n - n ~= 0 then error("a number that is not finite has no JSON", 0) end
  if floor(n) == n and n > -1e21 and n < 1e21 then return format("%.0f", n) end      -- an integer stays one
  local s = format("%.14g", n)
  if tonumber(s) ~= n then s = format("%.16g", n) end
  if tonumber(s) ~= n then s = format("%.17g", n) end
  return s
end

-- Length of a sequence 1..n, or nil when there are other keys.
local function sequence(t)
  local n = 0
  for _ in next, t do n = n + 1 end
  for i = 1, n do
    if t[i] == nil then return nil end
  end
  return n
end

local write

local function write_table(t, out, n, depth)
  if depth > MAX_DEPTH then error("nested deeper than " .. MAX_DEPTH .. " tables, or in a circle", 0) end
  local length = sequence(t)
  if length then
    if length == 0 then out[n + 1] = "[]" return n + 1 end
    for i = 1, length do
      n = n + 1
      out[n] = i == 1 and "[" or ","
      n = write(t[i], out, n, depth)
    end
    out[n + 1] = "]"
    return n + 1
  end
  local keys, values, k = {}, {}, 0
  for key, value in next, t do
    local kind = type(key)
    if kind == "number" then
      key = tostring(key)
    elseif kind ~= "string" then
      error("a " .. kind .. " cannot be a key in JSON", 0)
    end
    if values[key] == nil then
      k = k + 1
      keys[k] = key
    end
    values[key] = value
  end
  sort(keys)
  for i = 1, k do
    local key = keys[i]
    out[n + 1] = (i == 1 and "{" or ",") .. quoted(key) .. ":"
    n = write(values[key], out, n + 1, depth)
  end
  out[n + 1] = "}"
  return n + 1
end

function write(v, out, n, depth)
  local kind = type(v)
  if kind == "string" then
    out[n + 1] = quoted(v)
  elseif kind == "number" then
    out[n + 1] = number(v)
  elseif kind == "table" then
    return write_table(v, out, n, depth + 1)
  elseif kind == "boolean" then
    out[n + 1] = v and "true" or "false"
  elseif v == nil then
    out[n + 1] = "null"
  else
    error("a " .. kind .. " has no JSON", 0)
  end
  return n + 1
end

local function encoded(v)
  local out = {}
  return concat(out, "", 1, write(v, out, 0, 0))
end

local function encode(v)
  local ok, result = pcall(encoded, v)
  if ok then return result end
  return nil, result
end

-- Decoding -----------------------------------------------------------------------------------------------------

local function fail(what, i)
  error("invalid JSON at byte " .. i .. ": " .. what, 0)
end

local function utf8(code)
  if code < 0x80 then return char(code) end
  if code < 0x800 then return char(0xC0 + floor(code / 64), 0x80 + code % 64) end
  if code < 0x10000 then
    return char(0xE0 + floor(code / 4096), 0x80 + floor(code / 64) % 64, 0x80 + code % 64)
  end
  return char(0xF0 + floor(code / 262144), 0x80 + floor(code / 4096) % 64, 0x80 + floor(code / 64) % 64,
              0x80 + code % 64)
end

local SIMPLE = {["n"] = "\n", ["t"] = "\t", ["r"] = "\r", ["b"] = "\b", ["f"] = "\f", ["/"] = "/", ["\\"] = "\\",
                ['"'] = '"'}

local function hex4(s, i)
  local digits = sub(s, i, i + 3)
  if not find(digits, "^%x%x%x%x$") then fail("\\u needs four hexadecimal digits", i) end
  return tonumber(digits, 16)
end

-- The text that begins behind the quote at i - 1, and where it goes on.
local function text(s, i)
  local j = find(s, '["\\%c]', i)
  if j and byte(s, j) == 34 then return sub(s, i, j - 1), j + 1 end
  local out, n = {}, 0
  while true do
    if not j then fail("a text without end", #s + 1) end
    n = n + 1
    out[n] = sub(s, i, j - 1)
    local c = byte(s, j)
    if c == 34 then return concat(out), j + 1 end
    if c == 127 then
      n = n + 1
      out[n] = "\127"
      i = j + 1
    elseif c ~= 92 then
      fail("a control character in a text", j)
    else
      local e = sub(s, j + 1, j + 1)
      n = n + 1
      if e == "u" then
        local code = hex4(s, j + 2)
        i = j + 6
        if code >= 0xD800 and code < 0xDC00 and sub(s, i, i + 1) == "\\u" then
          local low = hex4(s, i + 2)
          if low >= 0xDC00 and low < 0xE000 then
            code = 0x10000 + (code - 0xD800) * 1024 + low - 0xDC00
            i = i + 6
          end
        end
        if code >= 0xD800 and code < 0xE000 then code = 0xFFFD end
        out[n] = utf8(code)
      else
        out[n] = SIMPLE[e] or fail("no such escape", j)
        i = j + 2
      end
    end
    j = find(s, '["\\%c]', i)
  end
end

local function skip(s, i)
  return find(s, "[^ \t\r\n]", i) or #s + 1
end

local read

local function read_object(s, i, depth)
  local t = {}
  i = skip(s, i)
  if byte(s, i) == 125 then return t, i + 1 end
  while true do
    if byte(s, i) ~= 34 then fail("a key was expected", i) end
    local key, value
    key, i = text(s, i + 1)
    i = skip(s, i)
    if byte(s, i) ~= 58 then fail("':' was expected", i) end
    value, i = read(s, skip(s, i + 1), depth)
    t[key] = value
    i = skip(s, i)
    local c = byte(s, i)
    if c == 125 then return t, i + 1 end
    if c ~= 44 then fail("',' or '}' was expected", i) end
    i = skip(s, i + 1)
  end
end

local function read_array(s, i, depth)
  local t, n = {}, 0
  i = skip(s, i)
  if byte(s, i) == 93 then return t, i + 1 end
  while true do
    local value
    value, i = read(s, i, depth)
    n = n + 1
    t[n] = value
    i = skip(s, i)
    local c = byte(s, i)
    if c == 93 then return t, i + 1 end
    if c ~= 44 then fail("',' or ']' was expected", i) end
    i = skip(s, i + 1)
  end
end

local function read_number(s, i)
  local _, j = find(s, "^-?%d+", i)
  if not j then fail("a value was expected", i) end
  if find(s, "^-?0%d", i) then fail("a number with a leading zero", i) end
  local _, k = find(s, "^%.%d+", j + 1)
  j = k or j
  _, k = find(s, "^[eE][+-]?%d+", j + 1)
  j = k or j
  local value = tonumber(sub(s, i, j))
  if value - value ~= 0 then fail("a number out of range", i) end
  return value, j + 1
end

function read(s, i, depth)
  local c = byte(s, i)
  if c == 34 then return text(s, i + 1) end
  if c == 123 or c == 91 then
    if depth >= MAX_DEPTH then fail("nested deeper than " .. MAX_DEPTH, i) end
    if c == 123 then return read_object(s, i + 1, depth + 1) end
    return read_array(s, i + 1, depth + 1)
  end
  if sub(s, i, i + 3) == "true" then return true, i + 4 end
  if sub(s, i, i + 4) == "false" then return false, i + 5 end
  if sub(s, i, i + 3) == "null" then return nil, i + 4 end
  return read_number(s, i)
end

local function decoded(s)
  local value, i = read(s, skip(s, 1), 0)
  i = skip(s, i)
  if i <= #s then fail("something behind the value", i) end
  return value
end

local function decode(s)
  if type(s) ~= "string" then return nil, "json_decode takes a text, not a " .. type(s) end
  local ok, result = pcall(decoded, s)
  if ok then return result end
  return nil, result
end

return {encode = encode, decode = decode}
