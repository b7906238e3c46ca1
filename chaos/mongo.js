'use strict'

// MongoDB under chaos: a set of three members, the writer's transactions, and the faults that only it has.

const { MongoClient } = require('mongodb')
const { urlOf } = require('../__test__/support/mongodb')

const COLLECTIONS = 6

class Mongo {
  constructor() {
    this.kind = 'mongodb'
    this.indices = 0
  }

  /** @param {import('../__test__/support/servers').Kit} kit */
  async start(kit) {
    this.server = await kit.mongodb({ members: 3, args: ['--setParameter', 'enableTestCommands=1'] })
    const client = await this.connect()
    const db = client.db('chaos')
    await db.createCollection('truth')
    for (let c = 0; c < COLLECTIONS; c++) await db.createCollection(`t${c}`)
    await client.close()
    return this.server
  }

  /** The driver finds the members by itself, so their links are not the proxy's. */
  url() {
    return urlOf(/** @type {any} */ (this.server).url, 'chaos')
  }

  async connect() {
    const client = new MongoClient(/** @type {any} */ (this.server).url, {
      writeConcern: { w: 'majority' },
      serverSelectionTimeoutMS: 2000,
    })
    await client.connect()
    return Object.assign(client, { destroy: () => client.close(true), end: () => client.close() })
  }

  /** @param {any} client */
  async newest(client) {
    const [newest] = await client
      .db('chaos')
      .collection('truth')
      .find({}, { readConcern: { level: 'majority' } })
      .sort({ _id: -1 })
      .limit(1)
      .toArray()
    return newest?._id ?? 0
  }

  /** @param {any} client @param {number} n @param {any} rng */
  async transact(client, n, rng) {
    const db = client.db('chaos')
    const session = client.startSession()
    try {
      session.startTransaction({ readConcern: { level: 'majority' }, writeConcern: { w: 'majority' } })
      const changes = 1 + rng.below(8)
      for (let change = 0; change < changes; change++) {
        const [collection, _id] = [db.collection(`t${rng.below(COLLECTIONS)}`), rng.below(200)]
        if (rng.next() < 0.25) await collection.deleteOne({ _id }, { session })
        else {
          const known = await collection.findOne({ _id }, { session })
          const document = { v: (known?.v ?? 0) + 1, text: `n${n}` }
          await collection.replaceOne({ _id }, document, { session, upsert: true })
        }
      }
      await db.collection('truth').insertOne({ _id: n }, { session })
      await session.commitTransaction()
    } finally {
      await session.endSession()
    }
  }

  /** @param {any} client */
  async storm(client) {
    const collection = client.db('chaos').collection('t0')
    for (let turn = 0; turn < 3; turn++) {
      const name = await collection.createIndex({ [`f${this.indices++}`]: 1 })
      await collection.dropIndex(name)
    }
  }

  /** @param {any} client */
  async contents(client) {
    const contents = new Map()
    for (let c = 0; c < COLLECTIONS; c++) {
      const documents = await client.db('chaos').collection(`t${c}`).find().toArray()
      contents.set(`t${c}`, new Map(documents.map(document => [document._id, document])))
    }
    return contents
  }

  /** Kills every change stream's cursor on the primary; returns how many. @param {any} client */
  async killReaders(client) {
    const admin = client.db('admin')
    const cursors = await admin
      .aggregate([
        { $currentOp: { idleCursors: true, allUsers: true } },
        { $match: { 'cursor.tailable': true } },
      ])
      .toArray()
    let killed = 0
    for (const { cursor, ns } of cursors) {
      const [database, ...rest] = ns.split('.')
      const collection = rest.join('.')
      const answer = await client
        .db(database)
        .command({ killCursors: collection, cursors: [cursor.cursorId] })
        .catch(() => ({ cursorsKilled: [] }))
      killed += answer.cursorsKilled.length
    }
    return killed
  }

  /** @param {any} client */
  async stepDown(client) {
    await client
      .db('admin')
      .command({ replSetStepDown: 5, secondaryCatchUpPeriodSecs: 3, force: true })
      .catch(() => {})
    return 1
  }

  hasRightShape() {
    return true
  }
}

module.exports = { Mongo }
