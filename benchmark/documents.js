'use strict'

// How long a document of MongoDB takes to decode: by this library, and by `bson` alone. In turns, in one process.
//
//   node benchmark/documents.js [--runs 15]

const { parseArgs } = require('node:util')
const bson = require('bson')
const { OPTIONS, PlainDocuments } = require('../lib/plain')
const { machine, versions } = require('./machine')
const { withSpread } = require('./table')
const { rowOf, touch } = require('./workload')

const DOCUMENTS = 5000

const { values } = parseArgs({ options: { runs: { type: 'string', default: '15' } } })
const documents = Array.from({ length: DOCUMENTS }, (_, n) =>
  Buffer.from(bson.serialize({ _id: new bson.ObjectId(), ...rowOf(n) }))
)
const plain = new PlainDocuments(bson)
const decoders = {
  'ultimate-streaming': bytes => plain.read(bytes),
  'bson, not searching for what is not UTF-8': bytes => bson.deserialize(bytes, OPTIONS),
  bson: bytes => bson.deserialize(bytes),
}

/** Nanoseconds a document, and what all of them add up to. @param {(bytes: Buffer) => any} decode */
function once(decode) {
  const began = performance.now()
  let sum = 0
  for (const bytes of documents) sum = (sum + touch(decode(bytes))) | 0
  return { ns: ((performance.now() - began) * 1e6) / DOCUMENTS, sum }
}

const names = Object.keys(decoders)
const found = new Map(names.map(name => [name, /** @type {number[]} */ ([])]))
const sums = new Set()
// The first runs compile.
for (let run = -5; run < Number(values.runs); run++) {
  for (const name of names) {
    const { ns, sum } = once(decoders[name])
    sums.add(sum)
    if (run >= 0) found.get(name)?.push(ns)
  }
}
if (sums.size !== 1) throw new Error('The decoders disagree')
console.log(
  `${machine()}\n${versions(['bson'])}\n${values.runs} runs, documents of ${documents[0].length} bytes; ns each`
)
for (const [name, list] of found) console.log(name.padEnd(44), withSpread(list))
