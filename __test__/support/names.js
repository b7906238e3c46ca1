'use strict'

// Names that a test decides: a name server on a loopback address of its own, and a process that asks it and no other.

const { spawn } = require('node:child_process')
const dgram = require('node:dgram')
const fs = require('node:fs')
const path = require('node:path')
const dns = require('dns-packet')

/** A resolver's address is the machine's, so this needs a mount namespace, and its port needs root: CI has both. */
const canServeNames = process.platform === 'linux' && process.getuid?.() === 0

/** A loopback address that nobody else is likely to use. */
function ownAddress() {
  const part = () => 1 + Math.floor(Math.random() * 254)
  return `127.${part()}.${part()}.${part()}`
}

/**
 * Answers questions until it is closed.
 * @param {Record<string, any[]>} records by type and name; may change meanwhile
 */
async function nameServer(records) {
  const socket = dgram.createSocket('udp4')
  socket.on('message', (message, { port, address }) => {
    const { id, questions = [] } = dns.decode(message)
    const answers = questions.flatMap(({ type, name }) => {
      const found = records[`${type} ${name.toLowerCase()}`] ?? []
      return found.map(data => /** @type {any} */ ({ type, name, ttl: 1, data }))
    })
    const flags = dns.AUTHORITATIVE_ANSWER
    socket.send(dns.encode({ type: 'response', id, flags, questions, answers }), port, address)
  })
  const address = ownAddress()
  await new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.bind(53, address, () => resolve(undefined))
  })
  return { address, close: () => socket.close() }
}

/**
 * Runs a script of this folder in a process whose names are those of a name server.
 * @param {string} folder for its resolver's file @param {string} address of the name server
 * @param {string} script @param {object} argument handed over as JSON
 */
function spawnWithNames(folder, address, script, argument) {
  const resolver = path.join(folder, `resolv-${address}.conf`)
  fs.writeFileSync(resolver, `nameserver ${address}\n`)
  const mounted = ['mount --bind "$1" /etc/resolv.conf', 'exec "$2" "$3" "$4"'].join(' && ')
  return spawn(
    'unshare',
    [
      ...['--mount', 'sh', '-c', mounted, 'sh', resolver],
      ...[process.execPath, path.join(__dirname, script), JSON.stringify(argument)],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] }
  )
}

module.exports = { canServeNames, nameServer, ownAddress, spawnWithNames }
