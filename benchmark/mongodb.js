'use strict'

// How fast a change stream that has fallen behind is read to the end, beside the official driver and its bare cursor.

const { Streamer } = require('..')
const { freshMongodb } = require('../__test__/support/mongodb')
const { alternate, measure } = require('./run')
const { checksum, rowOf } = require('./workload')

const CONTENDERS = {
  'raw cursor (the limit)': ['mongodb', 'drainRaw'],
  'ultimate-streaming, batch': ['ultimate', 'drain'],
  'ultimate-streaming, change': ['ultimate', 'drainSingly'],
  'ultimate-streaming, batch, oplog': ['ultimate', 'drainOplog'],
  'mongodb watch()': ['mongodb', 'drain'],
}

/**
 * Where a log stands now, as this library names it.
 * @param {any} database @param {'change-stream' | 'oplog'} log @param {string} table
 */
async function placeIn(database, log, table) {
  const streamer = new Streamer({ source: { url: database.url, tables: [table], log } })
  const marked = new Promise(resolve => streamer.once('change', resolve))
  await streamer.start()
  await database.db.collection(table).insertOne({ isMark: true })
  const { position } = await marked
  await streamer.stop()
  return position
}

/** Where both logs stand now, and how the driver names it. @param {any} database */
async function place(database) {
  const from = await placeIn(database, 'change-stream', 'c')
  // The mark of another collection, which nobody reads.
  const fromOplog = await placeIn(database, 'oplog', 'mark')
  return { from, fromOplog, token: { _data: from.split(':')[1].split('~')[0] } }
}

/** Fills a collection; where its changes begin, and what they add up to. */
async function fill(server, rows) {
  const database = await freshMongodb(server)
  const collection = await database.db.createCollection('c')
  const at = await place(database)
  for (let first = 0; first < rows; first += 1000) {
    const documents = []
    for (let n = first; n < Math.min(rows, first + 1000); n++) documents.push(rowOf(n))
    await collection.insertMany(documents)
  }
  return { database, task: { url: database.url, tables: ['c'], rows, sum: checksum(0, rows), ...at } }
}

/** @param {any} server @param {{ rows: number, runs: number, contenders?: string[] }} options */
async function drainDocuments(server, { rows, runs, contenders = Object.keys(CONTENDERS) }) {
  const { database, task } = await fill(server, rows)
  const results = await alternate(runs, contenders, async name => {
    const [file, kind] = CONTENDERS[name]
    const report = await measure(file, kind, task)
    if (report.rows !== rows || report.sum !== task.sum)
      throw new Error(`${name} gave ${report.rows} documents, which add up to ${report.sum}`)
    return report
  })
  await database.drop()
  return results
}

module.exports = { CONTENDERS, drainDocuments, fill }

if (require.main === module) {
  const { runAlone } = require('./alone')
  runAlone({ rows: '200000', runs: '3', only: '' }, async (kit, values, print) => {
    const server = await kit.mongodb()
    const contenders = Object.keys(CONTENDERS).filter(name => new RegExp(values.only).test(name))
    const options = { rows: Number(values.rows), runs: Number(values.runs), contenders }
    print(`mongod ${server.version}`, await drainDocuments(server, options))
  })
}
