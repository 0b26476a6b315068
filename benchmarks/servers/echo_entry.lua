-- SPDX-License-Identifier: Apache-2.0
-- An entry that echoes.
function on_handshake(client_id, headers, server) end
function on_message(msg) mix.websocket():send(msg.data, msg.type) end
function on_close(client_id, err) end
