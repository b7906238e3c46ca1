'use strict'

// The demo of `npm run demo`, shortened, on the file that it makes itself and on servers.

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { freshMongodb } = require('../support/mongodb')
const { freshDatabase, openKit } = require('../support/servers')

/** @type {import('../support/servers').Kit} */
let kit
before(async () => {
  kit = await openKit()
})
after(() => kit?.close())

/** @param {string} [url] */
async function shows(url) {
  const script = `require(process.argv[1]).demo({ url: process.argv[2], seconds: 2 }).then(isEqual => process.exit(isEqual ? 0 : 1))`
  const main = path.join(__dirname, '../../demo/main.js')
  const child = spawn(process.execPath, ['-e', script, main, ...(url === undefined ? [] : [url])], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let said = ''
  child.stdout.on('data', data => (said += data))
  const [code] = await once(child, 'exit')
  assert.equal(code, 0, said)
  assert.match(said, /kill -9[^]*goes on at the checkpoint[^]*equals the one in the database/)
  assert.match(said, /changes\/s, from the statement to the handler p50 [\d.]+ ms, p99 [\d.]+ ms/)
  assert.match(said, /Now your own: {2}npx ultimate-streaming tail/)
  return said
}

test('the demo on SQLite, with nothing installed', () => shows())

test('the demo on a server: MariaDB, MySQL', async () => {
  for (const kind of /** @type {const} */ (['mariadb', 'mysql'])) {
    const database = await freshDatabase(await kit[kind]())
    assert.match(await shows(database.url), /\d+ reads of rows that change: \d+ % from memory/)
    await database.drop()
  }
})

test('the demo on a server: MongoDB', async () => {
  const database = await freshMongodb(await kit.mongodb())
  await shows(database.url)
  await database.drop()
})
