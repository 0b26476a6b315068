-- SPDX-License-Identifier: Apache-2.0
-- require("utils.prettyprint"): print writes tables key by key.
local plain, tostring, type, pairs, select = print, tostring, type, pairs, select
local rep, concat, sort = string.rep, table.concat, table.sort

local MAX_DEPTH = 16

local function shown(value)
  if type(value) == "string" then return '"' .. value .. '"' end
  return tostring(value)
end

local function before(a, b)
  if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then return a < b end
  return tostring(a) < tostring(b)
end

local function write(out, value, depth, seen)
  local indent = rep("\t", depth)
  out[#out + 1] = indent .. "{"
  seen[value] = true
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = key end
  sort(keys, before)
  for _, key in ipairs(keys) do
    local item = value[key]
    local head = indent .. "\t" .. shown(key) .. " = "
    if type(item) ~= "table" then
      out[#out + 1] = head .. shown(item)
    elseif seen[item] or depth + 1 >= MAX_DEPTH then
      out[#out + 1] = head .. "[" .. tostring(item) .. "]"
    else
      out[#out + 1] = head .. "[" .. tostring(item) .. "]"
      write(out, item, depth + 1, seen)
    end
  end
  out[#out + 1] = indent .. "}"
  seen[value] = nil
end

function print(...)
  local parts, n = {...}, select("#", ...)
  for i = 1, n do
    if type(parts[i]) == "table" then
      local out = {}
      write(out, parts[i], 0, {})
      parts[i] = concat(out, "\n")
    else
      parts[i] = tostring(parts[i])
    end
  end
  plain(concat(parts, "\t", 1, n))
end

return print
