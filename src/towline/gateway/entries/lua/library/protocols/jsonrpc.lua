-- SPDX-License-Identifier: Apache-2.0
-- A line is a JSON-RPC request: an object with method and params. Anything else ends the connection.
local text = require("protocols.text")

local jsonrpc = {input = text.input, encode = text.encode}

-- `conn` may be left out.
function jsonrpc.decode(str, conn)
  local request = mix.json_decode(text.decode(str))
  if type(request) == "table" and request.method ~= nil and request.params ~= nil then return request end
  conn = conn or mix.socket.tcp()
  conn:close()
  return nil
end

-- A table as one line; nil and an error when it cannot be JSON.
function jsonrpc.encode_table(value)
  local line, err = mix.json_encode(value)
  if not line then return nil, err end
  return line .. "\n"
end

return jsonrpc
