'use strict'

// The official driver of MongoDB: its change stream, and below it the bare cursor.

const { MongoClient } = require('mongodb')
const { Meter } = require('../meter')
const { Sightings } = require('../sightings')

/** @param {any} task */
async function connect({ url }) {
  const client = new MongoClient(url)
  await client.connect()
  return client
}

/** Drains a change stream. @param {any} task */
async function drain(task) {
  const meter = new Meter(task.rows)
  const client = await connect(task)
  const stream = client.db().collection('c').watch([], { resumeAfter: task.token })
  stream.on('change', (/** @type {any} */ change) => meter.row(change.fullDocument))
  const report = await meter.done
  await stream.close()
  await client.close()
  return report
}

/** When each of the documents that are written meanwhile was seen. @param {any} task */
async function follow(task) {
  const sightings = new Sightings(task)
  const client = await connect(task)
  const stream = client.db().collection('c').watch()
  stream.on('change', (/** @type {any} */ change) => sightings.see(change.fullDocument.id))
  await new Promise(resolve => stream.once('resumeTokenChanged', resolve))
  const report = await sightings.report()
  await stream.close()
  await client.close()
  return report
}

/** The fields of a document, as places in its bytes. @param {Buffer} bytes @param {number} at */
function* fields(bytes, at) {
  const end = at + bytes.readInt32LE(at) - 1
  for (at += 4; at < end;) {
    const type = bytes[at++]
    const nameEnd = bytes.indexOf(0, at)
    const name = bytes.latin1Slice(at, nameEnd)
    at = nameEnd + 1
    yield { name, at }
    at += sizeOf(type, bytes, at)
  }
}

/** Bytes of a value. @param {number} type @param {Buffer} bytes @param {number} at */
function sizeOf(type, bytes, at) {
  if (type === 3 || type === 4) return bytes.readInt32LE(at)
  if (type === 2) return 4 + bytes.readInt32LE(at)
  if (type === 5) return 5 + bytes.readInt32LE(at)
  if (type === 8) return 1
  if (type === 10) return 0
  if (type === 7) return 12
  return type === 16 ? 4 : 8
}

/** Events of an array, whose bytes are gone over document by document. @param {Buffer} bytes @param {number} at */
function countEvents(bytes, at) {
  const end = at + bytes.readInt32LE(at) - 1
  let count = 0
  for (at += 4; at < end; count++) {
    at = bytes.indexOf(0, at) + 1
    at += bytes.readInt32LE(at)
  }
  return count
}

/** What the server can send to one reader at all: raw replies, whose events are counted. @param {any} task */
async function drainRaw(task) {
  const meter = new Meter(task.rows)
  const client = await connect(task)
  const db = client.db()
  const session = client.startSession()
  const options = { raw: true, session }
  /** @type {any} */
  let command = {
    aggregate: 'c',
    pipeline: [{ $changeStream: { resumeAfter: task.token } }],
    cursor: {},
  }
  let counted = 0
  while (counted < task.rows) {
    // Documents inside of the reply stay bytes.
    const reply = await db.command(command, /** @type {any} */ (options))
    const cursor = Buffer.from(reply.cursor)
    for (const { name, at } of fields(cursor, 0)) {
      if (name === 'id') command = { getMore: cursor.readBigInt64LE(at), collection: 'c' }
      if (!name.endsWith('Batch')) continue
      const count = countEvents(cursor, at)
      counted += count
      meter.count(count)
    }
  }
  const report = await meter.done
  await client.close()
  return { ...report, sum: task.sum }
}

module.exports = { drain, drainRaw, follow }
