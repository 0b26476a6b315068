// SPDX-License-Identifier: Apache-2.0
// A socket.io client driven by lines of JSON: [event, ...arguments] comes in on stdin, [event, ...arguments] goes out
// for everything received. An array that begins with "@ack" emits the rest and prints the acknowledgement.
import { createInterface } from 'node:readline'
import io from 'socket.io-client'

const socket = io(process.env.HOST, {
  query: `token=${process.env.TOKEN}&orgName=${process.env.WORKGROUP}`,
  path: process.env.SOCKET_PATH ?? '/socket.io-client',
  forceNew: true,
  transports: ['websocket'],
  reconnection: false,
})
const say = (...line) => console.log(JSON.stringify(line))

socket.on('connect', () => say('connect'))
socket.on('connect_error', (error) => say('connect_error', error.message, error.data ?? null))
socket.on('disconnect', (reason) => say('disconnect', reason))
socket.onAny((event, ...args) => say(event, ...args))

createInterface({ input: process.stdin }).on('line', (line) => {
  const [event, ...args] = JSON.parse(line)
  if (event === '@ack') {
    socket.timeout(5000).emit(...args, (error, answer) => say('@ack', error ? String(error) : answer))
  } else if (event === '@binary') {
    socket.emit(args[0], { ...args[1], cmd: Buffer.from('uptime') })
  } else {
    socket.emit(event, ...args)
  }
}).on('close', () => socket.disconnect())
