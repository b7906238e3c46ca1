'use strict'

// docs/quick-start.md, followed word by word.

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { freshMongodb } = require('../support/mongodb')
const { freshDatabase, openKit } = require('../support/servers')

const SCRIPT = path.join(__dirname, '../../scripts/quick-start.js')

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
before(async () => {
  kit = await openKit()
})
after(() => kit?.close())

test('docs/quick-start.md does what it says, on SQLite, MySQL, MariaDB and MongoDB', async t => {
  const mysql = await freshDatabase(await kit.mysql())
  const mariadb = await freshDatabase(await kit.mariadb())
  const mongodb = await freshMongodb(await kit.mongodb())
  const args = [SCRIPT, '--mysql', mysql.url, '--mariadb', mariadb.url, '--mongodb', mongodb.url]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', data => (output += data))
  const [code] = await once(child, 'close')
  assert.equal(code, 0, output)
  const times = /** @type {string[]} */ (output.match(/^.*: [\d.]+ s$/gm))
  assert.equal(times.length, 4, output)
  for (const time of times) t.diagnostic(time)
  await mongodb.drop()
})
