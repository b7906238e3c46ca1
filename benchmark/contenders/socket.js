'use strict'

// Nobody: a socket that asks for the log and throws it away. What the server can send to one reader at all.

const mysql = require('mysql2')
const { Meter } = require('../meter')

const COM_BINLOG_DUMP = 0x12
/** The server ends the dump at the end of the log. */
const NON_BLOCK = 1

/** @param {{ file: string, offset: number }} at */
function dumpPacket({ file, offset }) {
  const packet = Buffer.alloc(4 + 11 + file.length)
  packet.writeUIntLE(packet.length - 4, 0, 3)
  packet[4] = COM_BINLOG_DUMP
  packet.writeUInt32LE(offset, 5)
  packet.writeUInt16LE(NON_BLOCK, 9)
  packet.writeUInt32LE(4243, 11)
  packet.write(file, 15)
  return packet
}

/** Whether a chunk ends with the packet that ends a result. @param {Buffer} chunk */
function isEnd(chunk) {
  const at = chunk.length - 9
  return at >= 0 && chunk.readUIntLE(at, 3) === 5 && chunk[at + 4] === 0xfe
}

/** @param {any} task */
async function drain(task) {
  const { hostname, port } = new URL(task.url)
  const connection = mysql.createConnection({ host: hostname, port: Number(port), user: 'root' })
  await connection.promise().query("SET @master_binlog_checksum = 'CRC32', @mariadb_slave_capability = 4")
  const socket = /** @type {any} */ (connection).stream
  socket.removeAllListeners('data')
  const meter = new Meter(task.rows)
  let bytes = 0
  socket.on('data', (/** @type {Buffer} */ chunk) => {
    bytes += chunk.length
    // The first chunk starts the clock; the rows of all count at the end.
    meter.count(isEnd(chunk) ? task.rows : 0)
  })
  socket.write(dumpPacket(task.at))
  const report = await meter.done
  socket.destroy()
  return { ...report, sum: task.sum, bytes }
}

module.exports = { drain }
