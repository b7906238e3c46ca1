'use strict'

// npm run bench:cache [-- --server mysql --server mariadb --server mongodb --seconds 30 --keys 100000 --reads 10000 --runs 1 --entries 1000000]
//                     [--part traffic --part small] [--only 'no cache|ultimate|lru']
//
// Reads by key (Zipf 0.99) while another process writes 5 % of all operations, through this cache and through caches that keep a value for
// a time, once each has read every key. Queries are counted by the server itself; a read is stale that returns less than had been delivered before it began.
// Then what small entries take of memory, how long a hit takes, and what a missing key costs that many ask for.

const { fork } = require('node:child_process')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { freshDatabase, openKit } = require('../../__test__/support/servers')
const { machine } = require('../machine')
const { table, withSpread } = require('../table')
const { databaseOf } = require('./databases')
const { installed } = require('../../__test__/support/installed')

const WRITES = 0.05
const SCRIPTS = {
  reader: path.join(__dirname, 'reader.js'),
  writer: path.join(__dirname, 'writer.js'),
  small: path.join(__dirname, 'small.js'),
}
const CONTENDERS = [
  ['no cache', 0],
  ['ultimate-streaming', 0],
  ...['lru-cache', 'cacheable', 'bentocache'].flatMap(name => [
    [name, 1000],
    [name, 60_000],
  ]),
]

/** @param {(string | number)[]} contender its name, and for how long it keeps a value, in ms */
const labelOf = ([name, ttlMs]) => (ttlMs === 0 ? String(name) : `${name}, ${Number(ttlMs) / 1000} s`)

/** @param {string} file @param {object} argument */
function start(file, argument) {
  return fork(file, [JSON.stringify(argument)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    execArgv: ['--expose-gc'],
  })
}

/** The next message of a child. @param {import('node:child_process').ChildProcess} child @returns {Promise<any>} */
function message(child) {
  return new Promise((resolve, reject) => {
    child.once('message', resolve)
    child.once('exit', code => reject(new Error(`a process of the benchmark ended with ${code}`)))
  })
}

/** One contender's run. @param {() => Promise<number>} queries @param {any} options */
async function run(queries, { name, ttlMs, ...options }) {
  const writer = start(SCRIPTS.writer, { ...options, perSecond: (options.perSecond * WRITES) / (1 - WRITES) })
  await message(writer)
  const reader = start(SCRIPTS.reader, { name, ttlMs, ...options })
  for (;;) {
    const said = await message(reader)
    if (said === 'queries') {
      reader.send(await queries())
      continue
    }
    const ended = message(writer)
    writer.send('end')
    return { ...said, ...(await ended) }
  }
}

/** @param {string} kind @param {any} values */
async function small(kind, values) {
  const kit = await openKit()
  const server = await kit[kind]()
  const database = await freshDatabase(server)
  const connection = await database.connect()
  await connection.query(
    'CREATE TABLE items (id INT PRIMARY KEY, version INT NOT NULL, text VARCHAR(200) NOT NULL)'
  )
  await connection.query("INSERT INTO items VALUES (1, 1, 'one'), (2, 1, 'two')")
  const entries = Number(values.entries)
  const rows = []
  for (const name of ['ultimate-streaming', 'lru-cache']) {
    console.error(`${kind}: ${name}, ${entries} entries`)
    const figures = await message(start(SCRIPTS.small, { name, url: database.url, entries }))
    rows.push([
      name,
      String(figures.kept),
      (figures.bytes / 2 ** 20).toFixed(0),
      (figures.bytes / figures.kept).toFixed(0),
      figures.hit.toFixed(0),
      figures.own.toFixed(0),
      String(figures.asked),
      String(figures.loads),
    ])
  }
  const columns = [
    '',
    'entries',
    'MB',
    'bytes an entry',
    'ns a row',
    'ns a value',
    'queries of 1,000 callers',
    'loads',
  ]
  console.log(`\n${kind} ${server.version}, small values under keys of text\n`)
  console.log(table(columns, rows))
  await connection.end()
  await kit.close()
}

/** @param {string} kind @param {any} values */
async function compare(kind, values) {
  const only = new RegExp(values.only)
  if (!CONTENDERS.some(contender => only.test(labelOf(contender))))
    throw new Error(`--only: expected a part of ${CONTENDERS.map(labelOf).join('; ')}.`)
  const kit = await openKit()
  const server = await kit[kind]()
  const database = await databaseOf(kind).fresh(server)
  const keys = Number(values.keys)
  for (let id = 1; id <= keys; id += 1000) {
    const items = Array.from({ length: Math.min(1000, keys - id + 1) }, (_, n) => ({
      id: id + n,
      version: 1,
      text: `item ${id + n} `.repeat(8),
    }))
    await database.fill(items)
  }
  const seconds = Number(values.seconds)
  const options = {
    kind,
    url: database.url,
    keys,
    perSecond: Number(values.reads),
    seconds,
    warmSeconds: seconds,
  }
  /** @type {Map<string, any[]>} */
  const results = new Map()
  for (let turn = 0; turn < Number(values.runs); turn++) {
    for (const contender of CONTENDERS) {
      const [name, ttlMs] = contender
      const label = labelOf(contender)
      if (!only.test(label)) continue
      console.error(`${kind}: ${label}`)
      const result = await run(database.queries, { name, ttlMs, ...options })
      console.error(JSON.stringify({ ...result, stats: undefined }))
      results.set(label, [...(results.get(label) ?? []), result])
    }
  }
  const rows = [...results].map(([label, runs]) => {
    const of = (/** @type {(run: any) => number} */ read) => runs.map(read)
    const percent = value => `${(100 * value).toFixed(1)} %`
    return [
      label,
      withSpread(
        of(({ asked, reads }) => Math.max(0, 1 - asked / reads)),
        percent
      ),
      withSpread(of(run => run.stale)),
      withSpread(of(run => run.p50)),
      withSpread(of(run => run.p99)),
      withSpread(of(run => run.perSecond)),
      withSpread(of(run => run.rss / 2 ** 20)),
    ]
  })
  console.log(
    `\n${kind} ${server.version}, ${keys} keys, ${values.reads} reads/s for ${seconds} s, after every key was read once and ${seconds} s of the same\n`
  )
  console.log(
    table(['', 'reads without a query', 'stale reads', 'p50 ms', 'p99 ms', 'most reads/s', 'RSS MB'], rows)
  )
  console.log(`\n${JSON.stringify(results.get('ultimate-streaming')?.at(-1)?.stats)}`)
  await database.end()
  await kit.close()
}

async function main() {
  const { values } = parseArgs({
    options: {
      server: { type: 'string', multiple: true, default: ['mysql', 'mariadb', 'mongodb'] },
      seconds: { type: 'string', default: '30' },
      keys: { type: 'string', default: '100000' },
      reads: { type: 'string', default: '10000' },
      runs: { type: 'string', default: '1' },
      entries: { type: 'string', default: '1000000' },
      part: { type: 'string', multiple: true, default: ['traffic', 'small'] },
      only: { type: 'string', default: '' },
    },
  })
  const { version } = require('../../package.json')
  const peers = ['lru-cache', 'cacheable', 'bentocache', 'mysql2', 'mongodb'].map(
    name => `${name} ${installed(name)}`
  )
  console.log(`${machine()}; ultimate-streaming ${version}, ${peers.join(', ')}; ${values.runs} runs`)
  for (const kind of values.server) {
    if (values.part.includes('traffic')) await compare(kind, values)
    if (values.part.includes('small')) await small(kind, values)
  }
}

main()
