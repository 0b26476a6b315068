-- SPDX-License-Identifier: Apache-2.0
-- A line is a message.
local find, sub = string.find, string.sub

local MAX_LINE = 65535

local text = {}

function text.input(buf)
  local at = find(buf:tostring(), "\n", 1, true)
  if at then return at end
  return buf:length() > MAX_LINE and -1 or 0
end

function text.decode(str) return sub(str, 1, -2) end
function text.encode(str) return str .. "\n" end

return text
