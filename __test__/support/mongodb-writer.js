'use strict'

// Writes random changes over many collections: single and bulk writes, operators, array filters, pipelines, transactions (some
// aborted), and collections that are dropped, renamed and created. Runs as its own process:
//   node mongodb-writer.js <url> <database> <collections> <changes> <seed> <images: 0 or 1>
// The last line it prints is `done <changes>`: how many documents were inserted, updated, replaced and deleted.

const { Binary, Decimal128, Long, MongoClient, ObjectId } = require('mongodb')
const { random } = require('./random')

const WORDS = ['alpha', 'Bravo', 'çedille', '東京', '😀 emoji', "quote'd", 'back\\slash', '', 'x'.repeat(300)]

/** @param {ReturnType<typeof random>} rng */
const objectId = rng => new ObjectId(Array.from({ length: 24 }, () => rng.below(16).toString(16)).join(''))

class Writer {
  /** @type {Map<string, any[]>} The `_id`s that a collection holds. */
  live = new Map()
  done = 0
  nextId = 1
  nextName = 0

  /** @param {MongoClient} client @param {import('mongodb').Db} db @param {ReturnType<typeof random>} rng @param {boolean} hasImages */
  constructor(client, db, rng, hasImages) {
    this.client = client
    this.db = db
    this.rng = rng
    this.options = hasImages ? { changeStreamPreAndPostImages: { enabled: true } } : {}
  }

  async create() {
    const name = `c${this.nextName++}`
    await this.db.createCollection(name, this.options)
    this.live.set(name, [])
  }

  id() {
    const n = this.nextId++
    return this.rng.pick([
      n,
      `key ${n}`,
      objectId(this.rng),
      { n, part: n % 7 },
      Long.fromString(`90000000000000${n}`),
    ])
  }

  value() {
    const { rng } = this
    return rng.pick([
      null,
      rng.below(1e6),
      rng.next() * 1e6,
      rng.pick(WORDS) + rng.below(1000),
      rng.next() < 0.5,
      new Date(1.6e12 + rng.below(1e9)),
      Decimal128.fromString(`${rng.below(1e9)}.${rng.below(10000)}`),
      Long.fromString(`9223372036854${rng.below(1e5)}`),
      new Binary(Buffer.from([rng.below(256), 0, rng.below(256)])),
      objectId(rng),
      [1, null, { deep: rng.next() < 0.5 }],
    ])
  }

  document() {
    const { rng } = this
    return {
      count: rng.below(100),
      name: rng.pick(WORDS),
      amount: this.value(),
      nested: { a: this.value(), inner: { b: rng.below(10), c: this.value() } },
      list: Array.from({ length: rng.below(12) }, () => rng.below(20)),
      items: Array.from({ length: rng.below(6) }, () => ({ sku: rng.below(5), left: rng.below(50) })),
      ...(rng.next() < 0.3 ? { extra: this.value() } : {}),
    }
  }

  /** An update, and its options. */
  update() {
    const { rng } = this
    return rng.pick([
      () => [{ $set: { name: rng.pick(WORDS), amount: this.value() } }],
      () => [{ $set: { 'nested.a': this.value(), 'nested.inner.c': this.value() }, $inc: { count: 1 } }],
      () => [{ $inc: { 'nested.inner.b': 1 }, $mul: { count: 2 } }],
      () => [{ $push: { list: { $each: [rng.below(20), rng.below(20)], $position: rng.below(3) } } }],
      () => [{ $push: { list: { $each: [rng.below(20)], $slice: -8 } } }],
      () => [{ $push: { items: { sku: rng.below(5), left: rng.below(50) } } }],
      () => [{ $pull: { list: { $lt: rng.below(10) } } }],
      () => [{ $addToSet: { list: rng.below(30) } }],
      () => [{ $pop: { list: rng.pick([1, -1]) } }],
      () => [{ $unset: { extra: '', 'nested.a': '' } }],
      () => [{ $set: { extra: this.value() }, $unset: { amount: '' } }],
      () => [{ $rename: { extra: 'nested.moved' } }],
      () => [{ $currentDate: { seen: true }, $min: { count: 10 }, $max: { 'nested.inner.b': 3 } }],
      () => [{ $inc: { 'items.$[item].left': -1 } }, { arrayFilters: [{ 'item.left': { $gt: 10 } }] }],
      () => [{ $set: { 'items.$[].checked': rng.below(100) } }],
      () => [{ $set: { 'items.$[item]': { sku: 9, left: 0 } } }, { arrayFilters: [{ 'item.sku': 1 }] }],
      () => [[{ $set: { count: { $add: ['$count', 1] }, list: { $slice: ['$list', 3] } } }]],
      () => [
        [
          { $set: { items: { $filter: { input: '$items', cond: { $gt: ['$$this.left', 20] } } } } },
          { $unset: 'extra' },
        ],
      ],
      () => [[{ $set: { 'nested.inner.b': { $size: '$list' }, total: { $sum: '$items.left' } } }]],
    ])()
  }

  /**
   * One random write; returns how many documents it changed.
   * @param {string} name @param {any[]} ids @param {{ session?: import('mongodb').ClientSession }} options
   */
  async write(name, ids, options) {
    const { rng } = this
    const collection = this.db.collection(name)
    const roll = rng.next()
    if (roll < 0.3 || ids.length < 5) {
      const documents = Array.from({ length: 1 + (rng.next() < 0.3 ? rng.below(30) : 0) }, () => ({
        _id: this.id(),
        ...this.document(),
      }))
      ids.push(...documents.map(({ _id }) => _id))
      return (await collection.insertMany(/** @type {any} */ (documents), options)).insertedCount
    }
    const at = rng.below(ids.length)
    const _id = ids[at]
    if (roll < 0.6) {
      const [update, more] = this.update()
      return (await collection.updateOne({ _id }, update, { ...options, ...more })).modifiedCount
    }
    if (roll < 0.65) {
      const [update, more] = this.update()
      return (await collection.updateMany({ count: { $lt: rng.below(20) } }, update, { ...options, ...more }))
        .modifiedCount
    }
    if (roll < 0.72) return (await collection.replaceOne({ _id }, this.document(), options)).modifiedCount
    if (roll < 0.75) {
      const found = await collection.findOneAndUpdate(
        { _id },
        { $set: { name: `found ${this.nextId++}` } },
        options
      )
      return found === null ? 0 : 1
    }
    if (roll < 0.79) {
      const fresh = this.id()
      ids.push(fresh)
      return (
        await collection.updateOne({ _id: fresh }, { $set: this.document() }, { ...options, upsert: true })
      ).upsertedCount
    }
    if (roll < 0.9) return this.bulk(collection, ids, options)
    if (roll < 0.97) {
      ids.splice(at, 1)
      return (await collection.deleteOne({ _id }, options)).deletedCount
    }
    const gone = ids.splice(at, 1 + rng.below(5))
    return (await collection.deleteMany({ _id: { $in: gone } }, options)).deletedCount
  }

  /** @param {import('mongodb').Collection<any>} collection @param {any[]} ids @param {object} options */
  async bulk(collection, ids, options) {
    const { rng } = this
    const writes = Array.from({ length: 2 + rng.below(20) }, () => {
      const roll = rng.next()
      const at = rng.below(ids.length)
      if (roll < 0.3 || ids.length === 0) {
        const _id = this.id()
        ids.push(_id)
        return { insertOne: { document: { _id, ...this.document() } } }
      }
      const filter = { _id: ids[at] }
      if (roll < 0.7) {
        const [update, { arrayFilters } = /** @type {any} */ ({})] = this.update()
        return { updateOne: { filter, update, ...(arrayFilters && { arrayFilters }) } }
      }
      if (roll < 0.85) return { replaceOne: { filter, replacement: this.document() } }
      ids.splice(at, 1)
      return { deleteOne: { filter } }
    })
    const result = await collection.bulkWrite(/** @type {any} */ (writes), { ...options, ordered: true })
    return result.insertedCount + result.modifiedCount + result.deletedCount
  }

  /** Several writes as one transaction, some of which never happened. */
  async transaction() {
    const { rng } = this
    const before = new Map([...this.live].map(([name, ids]) => [name, [...ids]]))
    const session = this.client.startSession()
    const size = 2 + rng.below(rng.next() < 0.1 ? 120 : 10)
    let inside = 0
    try {
      session.startTransaction()
      while (inside < size) {
        const [name, ids] = rng.pick([...this.live])
        inside += await this.write(name, ids, { session })
      }
      if (rng.next() < 0.15) {
        await session.abortTransaction()
        this.live = before
      } else {
        await session.commitTransaction()
        this.done += inside
      }
    } finally {
      await session.endSession()
    }
  }

  /** A collection goes, or gets another name; there are as many as before. */
  async redefine() {
    const { rng } = this
    const names = [...this.live.keys()]
    const name = rng.pick(names)
    const roll = rng.next()
    if (roll < 0.4) {
      await this.db.collection(name).drop()
      this.live.delete(name)
      await this.create()
    } else if (roll < 0.6) {
      // The same name again.
      await this.db.collection(name).drop()
      await this.db.createCollection(name, this.options)
      this.live.set(name, [])
    } else if (roll < 0.8) {
      const to = `c${this.nextName++}`
      await this.db.collection(name).rename(to)
      this.live.set(to, /** @type {any[]} */ (this.live.get(name)))
      this.live.delete(name)
    } else {
      const to = rng.pick(names.filter(other => other !== name))
      await this.db.collection(name).rename(to, { dropTarget: true })
      this.live.set(to, /** @type {any[]} */ (this.live.get(name)))
      this.live.delete(name)
      await this.create()
    }
  }
}

async function main() {
  const [url, database, collections, changes, seed, images] = process.argv.slice(2)
  const rng = random(Number(seed))
  const client = await MongoClient.connect(url, { writeConcern: { w: 'majority' } })
  const writer = new Writer(client, client.db(database), rng, images === '1')
  for (let i = 0; i < Number(collections); i++) await writer.create()
  let next = 0
  while (writer.done < Number(changes)) {
    const roll = rng.next()
    if (writer.done > next) {
      // Some twenty in a run, however long.
      next = writer.done + Number(changes) / 20
      await writer.redefine()
    } else if (roll < 0.15) {
      await writer.transaction()
    } else {
      const [name, ids] = rng.pick([...writer.live])
      writer.done += await writer.write(name, ids, {})
    }
  }
  await writer.db.collection('finished').insertOne(/** @type {any} */ ({ _id: 1 }))
  await client.close()
  process.stdout.write(`done ${writer.done}\n`)
}

main().catch(error => {
  process.stderr.write(`${error.stack}\n`)
  process.exit(1)
})
