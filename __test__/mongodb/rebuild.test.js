'use strict'

// One process writes random changes; another rebuilds the collections from what is delivered. At the end every collection must
// equal `find()`: nothing missing, doubled or out of order. Once from descriptions of updates alone, as a stream without images
// delivers them, and once with images before and after, where each change must also fit what is there.
// STREAMER_REBUILD_CHANGES sets the count (default 4,000).

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { openKit } = require('../support/servers')
const { collect } = require('../support/collect')
const { freshMongodb } = require('../support/mongodb')
const { Rebuilt, checkTransactions, text } = require('../support/rebuilt')

const CHANGES = Number(process.env.STREAMER_REBUILD_CHANGES ?? 4000)
const COLLECTIONS = 20
const SEED = Number(process.env.STREAMER_SEED ?? Date.now() % 1e9)

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
before(async () => {
  kit = await openKit()
})
after(() => kit?.close())

/** @param {string[]} args */
function run(args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.on('data', chunk => (output += chunk))
    child.on('error', reject)
    child.on('exit', code =>
      code === 0 ? resolve(output) : reject(new Error(`the writer exited with ${code}`))
    )
  })
}

for (const [hasImages, name, log] of [
  [false, 'descriptions of updates', 'change-stream'],
  [true, 'images before and after', 'change-stream'],
  [false, 'descriptions of updates in the oplog', 'oplog'],
]) {
  test(`collections rebuilt from ${CHANGES} changes with ${name} equal find()`, async t => {
    t.diagnostic(`seed ${SEED}`)
    const server = await kit.mongodb()
    const database = await freshMongodb(server)
    const images = { fullDocument: 'required', fullDocumentBeforeChange: 'required' }
    const seen = await collect({ source: { url: database.url, log, ...(hasImages ? images : {}) } })
    const output = await run([
      path.join(__dirname, '../support/mongodb-writer.js'),
      server.url,
      database.name,
      String(COLLECTIONS),
      String(CHANGES),
      String(SEED),
      hasImages ? '1' : '0',
    ])
    const [, written] = /^done (\d+)/m.exec(output)
    await seen.until(() => seen.changes.at(-1)?.table === 'finished', 'the last change')
    await seen.stop()
    assert.deepEqual(seen.gaps, [])
    const changes = seen.changes.filter(change => change.table !== 'finished')
    const rebuilt = new Rebuilt(hasImages)
    for (const change of changes) rebuilt.apply(change)
    assert.equal(rebuilt.documents, Number(written))
    t.diagnostic(`${rebuilt.documents} changes, ${checkTransactions(changes)} transactions`)
    const collections = (await database.db.listCollections().toArray()).map(collection => collection.name)
    for (const [collection, documents] of rebuilt.collections) {
      assert.ok(documents.size === 0 || collections.includes(collection), `${collection} should be gone`)
    }
    for (const collection of collections.filter(other => other !== 'finished')) {
      const found = await database.db.collection(collection).find().toArray()
      const expected = new Map(found.map(document => [text({ _id: document._id }), document]))
      assert.deepEqual(
        rebuilt.collections.get(collection) ?? new Map(),
        expected,
        `${collection} differs (seed ${SEED})`
      )
    }
    await database.drop()
    await server.stop()
  })
}
