'use strict'

// A client of Redis for tests: one command after the other, answers as buffers, numbers, arrays or null.

const net = require('node:net')

/** @typedef {Buffer | number | null | Answer[]} Answer */

/** One answer in `data` from `at` on, and where it ends; `null` where it is not complete. @param {Buffer} data @param {number} at @returns {{ value: any, end: number } | null} */
function parse(data, at) {
  const line = data.indexOf('\r\n', at)
  if (line < 0) return null
  const [kind, text] = [String.fromCharCode(data[at]), data.toString('latin1', at + 1, line)]
  let end = line + 2
  if (kind === '+') return { value: Buffer.from(text), end }
  if (kind === '-') return { value: new Error(text), end }
  if (kind === ':') return { value: Number(text), end }
  const count = Number(text)
  if (count < 0) return { value: null, end }
  if (kind === '$') {
    if (data.length < end + count + 2) return null
    return { value: data.subarray(end, end + count), end: end + count + 2 }
  }
  const list = []
  for (let index = 0; index < count; index++) {
    const item = parse(data, end)
    if (item === null) return null
    list.push(item.value)
    end = item.end
  }
  return { value: list, end }
}

/** @param {string} url */
async function connect(url) {
  const { hostname, port } = new URL(url)
  const socket = net.connect(Number(port), hostname)
  await new Promise((resolve, reject) => socket.once('connect', () => resolve(null)).once('error', reject))
  let data = Buffer.alloc(0)
  /** @type {{ resolve: (value: any) => void, reject: (error: Error) => void }[]} */
  const waiting = []
  socket.on('data', chunk => {
    data = Buffer.concat([data, chunk])
    for (let answer = parse(data, 0); answer !== null; answer = parse(data, 0)) {
      data = data.subarray(answer.end)
      const { resolve, reject } = /** @type {any} */ (waiting.shift())
      if (answer.value instanceof Error) reject(answer.value)
      else resolve(answer.value)
    }
  })
  /** @param {(string | number | Buffer)[]} parts @returns {Promise<any>} */
  const send = (...parts) => {
    const pieces = parts.flatMap(part => {
      const bytes = Buffer.isBuffer(part) ? part : Buffer.from(String(part))
      return [Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n')]
    })
    socket.write(Buffer.concat([Buffer.from(`*${parts.length}\r\n`), ...pieces]))
    return new Promise((resolve, reject) => waiting.push({ resolve, reject }))
  }
  return { send, close: () => socket.destroy() }
}

module.exports = { connect }
