// SPDX-License-Identifier: Apache-2.0
// The example that the published guide of the device API shows: one shell command, its acceptance and its reply.
// Only the host, the token and the two ids come from outside.
import io from 'socket.io-client'

const workgroupId = process.env.WORKGROUP

function connect () {
  return new Promise((resolve, reject) => {
    let pending = true
    const websocket = io(process.env.HOST, {
      query: `token=${process.env.TOKEN}&orgName=${workgroupId}`,
      path: '/socket.io-client',
      forceNew: true,
      transports: ['websocket'],
    })
    websocket.once('connect', () => {
      console.log('SOCKET CONNECTED')
      if (pending) {
        resolve(websocket)
        pending = false
      }
    })
    websocket.once('connect_error', err => {
      console.error('Socket error', err, err.data)
      if (pending) {
        reject(err)
        pending = false
      }
    })
  })
}

function disconnect (websocket) {
  websocket.disconnect()
}

async function main () {
  const deviceId = process.env.DEVICE
  const cmd = 'uptime'
  const websocket = await connect()
  websocket.once('device:cmd:reply', (item) => {
    console.log('REPLY:', item)
    disconnect(websocket)
  })
  websocket.once('device:cmd:rpc', (item) => {
    console.log('RPC:', item)
    if (item.error) disconnect(websocket)
  })
  websocket.emit('device:cmd', { deviceId, cmd })
}

main().catch(() => process.exit(1))
