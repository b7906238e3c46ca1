'use strict'

// What a measurement was made on: without it no figure means anything.

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const ROOT = path.join(__dirname, '..')

/** The version of an installed package. @param {string} name */
function versionOf(name) {
  // Read as a file: some packages do not export their package.json.
  const file = path.join(ROOT, 'node_modules', name, 'package.json')
  return JSON.parse(fs.readFileSync(file, 'utf8')).version
}

/** Machine and operating system in one line. */
function machine() {
  const cpus = os.cpus()
  const memory = Math.round(os.totalmem() / 1024 ** 3)
  return `${cpus[0].model}, ${cpus.length} cores, ${memory} GB, ${os.type()} ${os.release()}, Node.js ${process.version}`
}

const PEERS = ['@vlasky/zongji', '@powersync/mysql-zongji', 'mongodb', 'bson']

/** Versions of everybody who takes part. */
function versions(peers = PEERS) {
  const { version } = require('../package.json')
  return [`ultimate-streaming ${version}`, ...peers.map(name => `${name} ${versionOf(name)}`)].join(', ')
}

module.exports = { ROOT, machine, versions }
