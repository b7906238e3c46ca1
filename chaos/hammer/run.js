'use strict'

// The hammer: processes that read and write the same few keys through the cache and a Redis that they share, while faults are
// injected. Nothing that any of them reads may be older than what it had been told, or had written itself.

const { fork } = require('node:child_process')
const path = require('node:path')
const { setTimeout: sleep } = require('node:timers/promises')
const { eventually, freshDatabase, openKit } = require('../../__test__/support/servers')
const { connect } = require('../../__test__/support/redis')
const { random } = require('../../__test__/support/random')

const PROCESSES = 4
const CALLERS = 8
const KEYS = 100
const PAUSE_MS = 400
const SETTINGS = {
  mysql: ['--gtid-mode=ON', '--enforce-gtid-consistency=ON', '--max-connections=400'],
  mariadb: ['--max-connections=400'],
}

/** Asks a child, and resolves with what it says. @param {import('node:child_process').ChildProcess} child @param {string} question @returns {Promise<any>} */
function ask(child, question) {
  return new Promise((resolve, reject) => {
    child.once('message', resolve)
    child.once('exit', code => reject(new Error(`a process of the hammer ended with ${code}`)))
    child.send(question)
  })
}

/** @param {any} connection */
async function killConnections(connection) {
  const [rows] = await connection.query(
    "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND user NOT IN ('system user', 'event_scheduler')"
  )
  let killed = 0
  for (const { id, ID } of rows) {
    // One that has ended meanwhile was not killed.
    const isKilled = await connection.query(`KILL ${id ?? ID}`).then(
      () => true,
      () => false
    )
    if (isKilled) killed++
  }
  return killed
}

/** Alters entries: a bit, or another entry in its place. @param {string} url @param {string} prefix @param {ReturnType<typeof random>} rng */
async function poison(url, prefix, rng) {
  const client = await connect(url)
  const names = (await client.send('KEYS', `${prefix}*`)).map(String)
  let altered = 0
  for (const name of names.filter(() => rng.next() < 0.3)) {
    const value = await client.send('GET', rng.next() < 0.5 ? name : rng.pick(names))
    if (value === null || value.length === 0) continue
    const bytes = Buffer.from(value)
    bytes[rng.below(bytes.length)] ^= 1 << rng.below(8)
    await client.send('SET', name, rng.next() < 0.7 ? bytes : value, 'PX', 60_000)
    altered++
  }
  client.close()
  return altered
}

/**
 * @param {{ source: 'mysql' | 'mariadb', seed: number, minutes: number, say?: (text: string) => void }} options
 */
async function hammer({ source, seed, minutes, say = () => {} }) {
  const kit = await openKit()
  const server = await kit[source]({ args: SETTINGS[source], own: true })
  const store = await kit.redis({ own: true })
  const database = await freshDatabase(server)
  const connection = await database.connect()
  await connection.query('CREATE TABLE hammered (id INT PRIMARY KEY, v INT NOT NULL)')
  await connection.query('INSERT INTO hammered VALUES ?', [
    Array.from({ length: KEYS }, (_, index) => [index + 1, 0]),
  ])
  const redis = {
    url: store.url,
    prefix: 'hammer:',
    encryptionKey: Buffer.from(`${seed}`.padStart(32, 'k').slice(0, 32)).toString('base64'),
  }
  const children = Array.from({ length: PROCESSES }, (_, index) => {
    const argument = { url: database.url, redis, keys: KEYS, seed: seed * 10 + index, callers: CALLERS }
    return fork(path.join(__dirname, 'worker.js'), [JSON.stringify(argument)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
  })
  await Promise.all(children.map(child => new Promise(resolve => child.once('message', resolve))))
  const rng = random(seed)
  const faults = {
    connectionsKilled: 0,
    redisKilled: 0,
    redisFrozen: 0,
    readersStopped: 0,
    entriesAltered: 0,
  }
  /** @type {(() => Promise<void>)[]} */
  const kinds = [
    async () => {
      faults.entriesAltered += await poison(store.url, redis.prefix, rng)
    },
    async () => {
      faults.connectionsKilled += await killConnections(connection)
    },
    async () => {
      await store.kill()
      faults.redisKilled++
      await sleep(rng.below(1500))
      await store.restart()
    },
    async () => {
      await store.pause()
      faults.redisFrozen++
      await sleep(200 + rng.below(1500))
      await store.resume()
    },
    async () => {
      const child = rng.pick(children)
      child.kill('SIGSTOP')
      faults.readersStopped++
      await sleep(200 + rng.below(3000))
      child.kill('SIGCONT')
    },
  ]
  const end = performance.now() + minutes * 60_000
  let round = 0
  while (performance.now() < end) {
    await sleep(PAUSE_MS + rng.below(PAUSE_MS))
    // The first ones in turn, so that a short run has each.
    const kind = round < kinds.length ? round : rng.below(kinds.length)
    round++
    await kinds[kind]()
    if (round % 50 === 0) say(JSON.stringify(faults))
  }
  const said = await Promise.all(children.map(child => ask(child, 'end')))
  const report = sum(said)
  // Writes have ended: every process gives what the database holds, as soon as it was told of everything.
  const [rows] = await connection.query('SELECT v FROM hammered ORDER BY id')
  const now = JSON.stringify(rows.map(row => row.v))
  let survivors = 0
  for (const child of children) {
    const compared = await eventually(
      async () => {
        const { rows, delivered } = await ask(child, 'compare')
        return JSON.stringify(delivered) === now && { rows }
      },
      { what: 'a process to be told of every change', deadlineMs: 60_000 }
    )
    survivors += compared.rows.filter((v, index) => v !== rows[index].v).length
  }
  for (const child of children) child.send('exit')
  await Promise.all(children.map(child => new Promise(resolve => child.once('exit', resolve))))
  await connection.end()
  await kit.close()
  return {
    source,
    version: server.version,
    seed,
    minutes,
    processes: PROCESSES,
    keys: KEYS,
    ...report,
    survivors,
    faults,
  }
}

/** @param {any[]} said */
function sum(said) {
  const broken = said.find(one => one.error)
  if (broken) throw new Error(broken.error)
  /** @param {(one: any) => Record<string, number>} of */
  const total = of => {
    /** @type {Record<string, number>} */
    const sums = {}
    for (const one of said)
      for (const [name, count] of Object.entries(of(one))) sums[name] = (sums[name] ?? 0) + count
    return sums
  }
  const stats = total(one => one.stats)
  stats.hitRatio = stats.hits / (stats.hits + stats.misses)
  return {
    ...total(one => one.counts),
    errors: total(one => one.errors),
    findings: said.flatMap(one => one.findings).slice(0, 20),
    stats,
  }
}

module.exports = { hammer }
