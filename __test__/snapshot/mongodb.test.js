'use strict'

// Documents that collections hold already, joined with what is written meanwhile.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { Binary, EJSON, ObjectId } = require('bson')
const { Streamer } = require('../..')
const { Child } = require('../support/child')
const { freshMongodb } = require('../support/mongodb')
const { openKit } = require('../support/servers')

let kit
let server
before(async () => {
  kit = await openKit()
  server = await kit.mongodb()
})
after(() => kit?.close())

const text = value => EJSON.stringify(value, { relaxed: false })

/** A document as text, whatever the order of its fields. */
const sorted = document => text(Object.entries(document).sort(([a], [b]) => (a < b ? -1 : 1)))

/** Documents in memory; updates without an image are applied as the server describes them. */
class Documents {
  /** @type {Map<string, any>} */
  all = new Map()
  ids = new Set()
  reads = 0

  apply(change) {
    if (change.table === 'finished') return
    if (change.op !== 'read' && this.ids.has(change.id)) return
    this.ids.add(change.id)
    const key = text(change.key)
    switch (change.op) {
      case 'read':
        this.reads++
      // falls through
      case 'insert':
      case 'replace':
        this.all.set(key, change.after)
        return
      case 'delete':
        this.all.delete(key)
        return
      case 'update': {
        // What is not there yet will be read later.
        const present = this.all.get(key)
        if (present === undefined) return
        for (const [name, value] of Object.entries(change.update.updatedFields)) present[name] = value
        for (const name of change.update.removedFields) delete present[name]
      }
    }
  }
}

/** Ids of several types in turn. */
function idOf(n) {
  const kinds = [
    n,
    `text ${n}`,
    new ObjectId(n.toString(16).padStart(24, '0')),
    { a: n, b: 'c' },
    new Binary(Buffer.from([n % 256, n >> 8])),
    new Date(n * 1000),
  ]
  return kinds[n % kinds.length]
}

async function fill(db, count) {
  const documents = Array.from({ length: count }, (_, n) => ({ _id: idOf(n), n, v: `v${n}` }))
  await db.collection('mixed').insertMany(documents)
}

async function write(db, count, turn) {
  const id = () => idOf(Math.floor(Math.random() * count * 1.1))
  const mixed = db.collection('mixed')
  await mixed.updateOne({ _id: id() }, { $set: { v: `w${turn}` }, $unset: { gone: '' } })
  await mixed.deleteOne({ _id: id() })
  await mixed.replaceOne({ _id: id() }, { n: turn, replaced: true }, { upsert: true })
  await mixed.insertOne({ _id: `new ${turn}`, n: turn })
  await mixed.updateMany({ n: { $mod: [97, turn % 97] } }, { $inc: { counter: 1 } })
}

async function assertEqual(db, documents) {
  const found = await db.collection('mixed').find().toArray()
  assert.equal(documents.all.size, found.length)
  for (const document of found) {
    const key = text({ _id: document._id })
    assert.equal(sorted(documents.all.get(key)), sorted(document), key)
  }
}

async function joins(t, log) {
  const database = await freshMongodb(server)
  t.after(() => database.drop())
  const count = 3000
  await fill(database.db, count)
  const documents = new Documents()
  const streamer = new Streamer({ source: { url: database.url, log, snapshot: 'initial' } })
  const told = []
  streamer.on('change', change => documents.apply(change))
  streamer.on('snapshot', progress => told.push(progress))
  await streamer.start()
  let turn = 0
  const deadline = Date.now() + 120_000
  while (!told.some(({ done, remaining }) => done && remaining === 0)) {
    await write(database.db, count, turn++)
    assert.ok(Date.now() < deadline, JSON.stringify([told.at(-1), streamer.health()]))
  }
  const changes = streamer.changes({ tables: ['finished'] })
  await database.db.collection('finished').insertOne({ _id: 1 })
  await changes.next()
  await changes.return?.()
  assert.equal(streamer.health().sources.default.lastError, null)
  await streamer.stop()
  await assertEqual(database.db, documents)
  assert.ok(documents.reads >= count * 0.9, `${documents.reads} documents were read`)
  t.diagnostic(`${documents.reads} documents read, ${turn} turns`)
}

async function goesOn(t, log) {
  const database = await freshMongodb(server)
  t.after(() => database.drop())
  const count = 5000
  await fill(database.db, count)
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-snapshot-'))
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }))
  const file = path.join(folder, 'log')
  fs.writeFileSync(file, '')
  const argument = {
    config: {
      source: { url: database.url, log, snapshot: 'initial', snapshotRate: 2500 },
      checkpoint: { url: path.join(folder, 'checkpoint'), intervalMs: 10 },
    },
    file,
  }
  const documents = new Documents()
  let [kills, turn, hasEnded, applied] = [0, 0, false, 0]
  const apply = () => {
    const written = fs.readFileSync(file)
    const end = written.lastIndexOf('\n') + 1
    fs.truncateSync(file, end)
    for (const line of written.subarray(applied, end).toString().split('\n').slice(0, -1)) {
      const { change, snapshot } = EJSON.parse(line, { relaxed: false })
      if (change) documents.apply(change)
      hasEnded ||= snapshot?.done === true && Number(snapshot.remaining) === 0
    }
    applied = end
  }
  while (!hasEnded) {
    const reader = new Child('document-reader.js', argument)
    await reader.says('ready')
    const end = Date.now() + 100 + Math.random() * 800 + kills * 200
    while (Date.now() < end) await write(database.db, count, turn++)
    await reader.kill()
    kills++
    apply()
  }
  await database.db.collection('finished').insertOne({ _id: 1 })
  const reader = new Child('document-reader.js', argument)
  await reader.says('finished')
  await reader.kill()
  apply()
  await assertEqual(database.db, documents)
  assert.ok(kills >= 2, `${kills} kills`)
  t.diagnostic(`${kills} kills, ${documents.reads} documents read, ${turn} turns`)
}

for (const log of ['change-stream', 'oplog']) {
  test(`documents under ids of several types and writes that go on are joined without a hole, ${log}`, t =>
    joins(t, log))
  test(`a process that is killed in the middle of a snapshot of documents goes on with it, ${log}`, t =>
    goesOn(t, log))
}
