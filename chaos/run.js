'use strict'

// One run: a writer, a reader that lives, a process that is killed, and faults by a seeded schedule. At the end the tables rebuilt
// from the events must equal the source, and what `health()` said all along is held against what had arrived.

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { setTimeout: sleep } = require('node:timers/promises')
const { Streamer } = require('..')
const { random } = require('../__test__/support/random')
const { eventually, openKit } = require('../__test__/support/servers')
const { Checker } = require('./checker')
const { Disk } = require('./disk')
const { faultsOf } = require('./faults')
const { Mortal } = require('./mortal')
const { Writer } = require('./writer')

const SAMPLE_MS = 100
const HEARTBEAT = { intervalMs: 1000, timeoutMs: 3000 }
const DEADLINE_MS = 120_000

/** @returns {any} The part that a kind of source has of its own. @param {string} source */
function sideOf(source) {
  if (source === 'mongodb') return new (require('./mongo').Mongo)()
  const { Sql } = require('./sql')
  return new Sql(/** @type {'mysql' | 'mariadb'} */ (source))
}

/** How long the picture was old while it was called healthy. */
class Honesty {
  longestBlindMs = 0
  #timer

  /** @param {Streamer} streamer @param {Writer} writer @param {Checker} checker */
  constructor(streamer, writer, checker) {
    this.#timer = setInterval(() => {
      const since = writer.committedSince(checker.newest)
      if (since === null || streamer.health().status !== 'healthy') return
      this.longestBlindMs = Math.max(this.longestBlindMs, performance.now() - since)
    }, SAMPLE_MS)
  }

  end() {
    clearInterval(this.#timer)
  }
}

/** What a run consists of. @param {string} source @param {number} seed */
async function open(source, seed) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-chaos-'))
  const kit = await openKit()
  const disk = new Disk(path.join(folder, 'disk'))
  const close = async () => {
    await kit.close()
    disk.close()
    fs.rmSync(folder, { recursive: true, force: true })
  }
  try {
    const side = sideOf(source)
    const server = await side.start(kit)
    const redis = await kit.redis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
    const isProxied = source !== 'mongodb'
    const proxies = isProxied
      ? [await kit.proxy(server), await kit.proxy(server), await kit.proxy(server)]
      : []
    const mortals = [path.join(disk.folder, 'checkpoint'), redis.url].map(
      (checkpoint, index) =>
        new Mortal(path.join(folder, `seen-${index}`), side.url(proxies[1 + index]), checkpoint)
    )
    return {
      rng: random(seed),
      side,
      version: server.version,
      redis,
      proxies,
      disk,
      mortals,
      mortal: mortals[0],
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** @param {{ source: string, seed: number, minutes: number, say?: (text: string) => void }} options */
async function run(options) {
  const parts = await open(options.source, options.seed)
  try {
    return await tortured(options, parts)
  } finally {
    await Promise.all(parts.mortals.map(mortal => mortal.end()))
    await parts.close()
  }
}

/** @param {any} options @param {any} parts */
async function tortured({ source, seed, minutes, say = () => {} }, parts) {
  const { rng, side, proxies, mortals } = parts
  const checker = new Checker(change => side.hasRightShape(change))
  const gaps = []
  const streamer = new Streamer({ source: side.url(proxies[0]), heartbeat: HEARTBEAT })
  streamer.on('batch', batch => batch.forEach(change => checker.take(change, false)))
  streamer.on('gap', gap => gaps.push(gap.reason))
  const failures = []
  streamer.on('error', error => failures.push(String(error)))
  await streamer.start()
  for (const mortal of mortals) await mortal.begin().says('ready')

  const writer = new Writer(side, random(seed + 1))
  const honesty = new Honesty(streamer, writer, checker)
  const readers = { side, checker, mortals, failures }
  const level = async () => {
    const last = await writer.next()
    await arrived({ ...readers, last })
    // Ten intervals, so that it stands in the checkpoints too.
    await sleep(1000)
  }
  const world = { ...parts, ask: work => writer.aside(work), level }
  const injected = new Map(faultsOf(source).map(({ name }) => [name, 0]))
  const recoveries = []
  const end = performance.now() + minutes * 60_000
  let order = []
  while (performance.now() < end) {
    if (order.length === 0) order = faultsOf(source).toSorted(() => rng.next() - 0.5)
    const fault = order.pop()
    say(fault.name)
    const count = await fault.inject(world)
    injected.set(fault.name, (injected.get(fault.name) ?? 0) + count)
    if (fault.disturbs && count > 0)
      recoveries.push({ ms: await recovery(writer, checker), fault: fault.name })
    await sleep(300 + rng.below(1500))
  }
  const last = await writer.end()
  await arrived({ ...readers, last })
  honesty.end()
  const uptime = streamer.health().sources.default.uptime
  await streamer.stop()
  await Promise.all(mortals.map(mortal => mortal.end()))
  const contents = await writer.aside(connection => side.contents(connection))
  const again = mortals.map(mortal => {
    const theirs = new Checker(change => side.hasRightShape(change))
    for (const change of mortal.changes()) theirs.take(change, true)
    return theirs
  })
  const isReset = await resetIsNoticed(source, writer, parts)
  await writer.close()
  const all = [checker, ...again]
  /** @param {(one: Checker) => number} of */
  const sum = of => all.reduce((total, one) => total + of(one), 0)
  recoveries.sort((left, right) => left.ms - right.ms)
  return {
    source,
    seed,
    version: parts.version,
    faults: Object.fromEntries(injected),
    transactions: last,
    checked: sum(one => one.changes),
    lost: sum(one => one.missing + Math.max(0, last - one.newest)),
    doubledWithin: checker.doubled,
    repeatedAcross: sum(one => one.repeated),
    deaths: mortals.reduce((total, mortal) => total + mortal.deaths, 0),
    restarts: mortals.reduce((total, mortal) => total + mortal.restarts, 0),
    wrong: sum(one => one.wrong + one.differences(contents)),
    gaps,
    resetNoticed: isReset,
    failures: [...failures, ...mortals.flatMap(mortal => mortal.failures)],
    longestBlindMs: Math.round(honesty.longestBlindMs),
    blindLimitMs: HEARTBEAT.timeoutMs + HEARTBEAT.intervalMs,
    recoveries: recoveries.length,
    recoveryMedianMs: Math.round(recoveries[Math.floor(recoveries.length / 2)]?.ms ?? 0),
    recoveryP95Ms: Math.round(recoveries[Math.ceil(recoveries.length * 0.95) - 1]?.ms ?? 0),
    slowestRecoveries: recoveries.slice(-3).map(({ ms, fault }) => `${Math.round(ms)} ms: ${fault}`),
    uptime,
    notes: all.flatMap(one => one.notes),
  }
}

/** In the end the log is reset and grows again: who goes on at a checkpoint must not take it for the old one. */
async function resetIsNoticed(source, writer, { side, mortals }) {
  if (source === 'mongodb') return null
  await writer.aside(connection => side.reset(connection))
  for (const mortal of mortals) await mortal.isRefused('ERR_STREAMER_POSITION_LOST')
  return true
}

/** Resolves when all readers have seen a transaction. @param {any} world */
async function arrived({ side, checker, mortals, failures, last }) {
  const deadline = { deadlineMs: DEADLINE_MS }
  await eventually(() => checker.newest >= last || failures.length > 0, {
    ...deadline,
    what: 'the living reader to see a transaction',
  })
  const text = side.kind === 'mongodb' ? `"table":"truth","key":{"_id":${last}}` : `"key":{"n":${last}}`
  for (const mortal of mortals)
    await eventually(() => mortal.hasSeen(text) || mortal.failures.length > 0, {
      ...deadline,
      what: 'a mortal reader to see a transaction',
    })
}

/** Time from the end of a fault until a transaction that was committed after it has arrived. @param {Writer} writer @param {Checker} checker */
async function recovery(writer, checker) {
  const begin = performance.now()
  // The writer itself may still be connecting; what it cannot write cannot arrive.
  const n = await writer.next()
  const committed = performance.now()
  await eventually(() => checker.newest >= n, { deadlineMs: DEADLINE_MS, what: 'a change behind a fault' })
  return performance.now() - Math.max(begin, committed)
}

module.exports = { run }
