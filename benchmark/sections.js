'use strict'

// The measurements of `npm run bench`, one after the other, and how each is shown.

const { freshMongodb } = require('../__test__/support/mongodb')
const { SERVER, SHAPES, drainShape } = require('./drain')
const { FIGURES, latencies } = require('./latency')
const { loops } = require('./loop')
const { addonBytes, draining, loading, manyStreamers, streaming } = require('./memory')
const { drainDocuments } = require('./mongodb')
const { profileTable } = require('./profile')
const { filtered, manyColumns, manyTables } = require('./scale')
const { median, plain, table, withSpread } = require('./table')

const MB = 1024 ** 2
const NAMES = { mariadb: 'MariaDB', mysql: 'MySQL', mongodb: 'MongoDB' }

/** @typedef {{ title: string, text: string, groups?: { title: string, bars: { name: string, values: number[] }[] }[] }} Section */
/** @typedef {{ rows: number, runs: number, seconds: number, loopRows: number, rates: number[], shapes: number[], farRows: number, streamers: number[] }} Sizes */

const rateOf = report => (report.rows / report.ms) * 1000
const cpuOf = report => (report.cpuMs / report.rows) * 1000

/** A table of rates beside a peer and beside the limit. */
function rates(results, peer, limit) {
  const of = name => median((results.get(name) ?? []).map(rateOf))
  const rows = [...results].map(([name, reports]) => [
    name,
    withSpread(reports.map(rateOf)),
    `${plain(of(name) / of(peer))} ×`,
    `${Math.round((of(name) / of(limit)) * 100)} %`,
    withSpread(reports.map(cpuOf)),
    withSpread(reports.map(report => report.rss / MB)),
  ])
  const head = ['', 'rows/s', `of ${peer}`, 'of the limit', 'CPU s a million', 'peak RSS, MB']
  return table(head, rows)
}

const barsOf = results => [...results].map(([name, reports]) => ({ name, values: reports.map(rateOf) }))

/** @param {any} server @param {Sizes} sizes @returns {AsyncGenerator<Section>} */
async function* sqlDrains(server, { rows, runs, shapes }) {
  for (const shape of shapes.map(index => SHAPES[index])) {
    const results = await drainShape(server, shape, { rows, runs })
    const title = `${NAMES[server.kind]}: ${shape.title}`
    const text = rates(results, '@vlasky/zongji', 'server alone')
    yield { title, text, groups: [{ title, bars: barsOf(results) }] }
  }
}

/** @param {any} server @param {Sizes} sizes @returns {Promise<Section>} */
async function mongodbDrain(server, { rows, runs }) {
  const results = await drainDocuments(server, { rows, runs })
  const title = 'MongoDB: a change stream that has fallen behind'
  const text = rates(results, 'mongodb watch()', 'raw cursor (the limit)')
  return { title, text, groups: [{ title, bars: barsOf(results) }] }
}

/**
 * @param {any} server @param {Sizes} sizes @param {string} [setting]
 * @returns {AsyncGenerator<Section>}
 */
async function* latencySections(server, { rates: all, seconds, runs }, setting = '') {
  const head = ['', 'p50, ms', 'p99, ms', 'after the write was sent: p50', 'p99']
  for (const rate of all) {
    const results = await latencies(server, { rate, seconds, runs })
    const rows = [...results].map(([name, reports]) => [
      name,
      ...FIGURES.map(key => withSpread(reports.map(report => report[key]))),
    ])
    const title = `${NAMES[server.kind]}${setting}: ${plain(rate)} commits a second, handler minus acknowledgement`
    yield { title, text: table(head, rows) }
  }
}

/** @param {any} server @param {Sizes} sizes @returns {Promise<Section>} */
async function loopSection(server, { loopRows, runs }) {
  const results = await loops(server, { rows: loopRows, runs })
  const keys = ['loop99', 'loopMax', 'http50', 'http99']
  const rows = [...results].map(([name, reports]) => [
    name,
    ...keys.map(key => withSpread(reports.map(report => report[key]))),
  ])
  const head = ['', 'loop delay p99, ms', 'max, ms', 'HTTP p50, ms', 'HTTP p99, ms']
  return {
    title: `${NAMES[server.kind]}: the event loop while ${plain(loopRows)} rows are drained`,
    text: table(head, rows),
  }
}

/** @param {any} server @param {Sizes} sizes @returns {Promise<Section>} */
async function costSection(server, { runs, seconds }) {
  const above = await streaming(server, { runs, seconds })
  const loads = await loading({ runs })
  const rows = [
    ['RSS above a bare process, 1,000 rows/s, MB', withSpread(above.map(bytes => bytes / MB))],
    ['time to load the library and its addon, ms', withSpread(loads.map(({ ms }) => ms))],
    ['RSS that loading adds, MB', withSpread(loads.map(({ rss }) => rss / MB))],
    ['size of the addon, MB', (addonBytes() / MB).toFixed(1)],
  ]
  return { title: 'What it costs to have', text: table(['', 'median (lowest–highest)'], rows) }
}

/** @param {any} server @param {Sizes} sizes @returns {Promise<Section>} */
async function farSection(server, { runs, farRows }) {
  const reports = await draining(server, { runs, rows: farRows })
  const marks = reports[0].held.map((_, index) => index).filter(index => index < 2 || index % 3 === 0)
  const rows = [
    ...marks.map(index => [
      `after ${plain((index + 1) * 1_000_000)} rows`,
      withSpread(reports.map(({ held }) => held[index] / MB)),
    ]),
    ['at most', withSpread(reports.map(({ most }) => most / MB))],
  ]
  const bare = withSpread(reports.map(report => report.bare / MB))
  const title = `${NAMES[server.kind]}: memory while ${plain(farRows)} rows are drained`
  return { title, text: table(['', `RSS above a bare process (${bare} MB), MB`], rows) }
}

/** @param {any} server @param {Sizes} sizes @returns {Promise<Section>} */
async function manySection(server, { runs, streamers }) {
  const results = await manyStreamers(server, { runs, rows: 100_000, numbers: streamers })
  const rows = [...results].map(([number, reports]) => [
    `${number} ${number === 1 ? 'streamer' : 'streamers'}`,
    withSpread(reports.map(rateOf)),
    withSpread(reports.map(cpuOf)),
    withSpread(reports.map(report => report.rss / MB)),
  ])
  return {
    title: `${NAMES[server.kind]}: several streamers in a process, each reads the same log`,
    text: table(['', 'rows/s of all', 'CPU µs a row', 'peak RSS, MB'], rows),
  }
}

/** @param {any} server @param {Sizes} sizes @returns {Promise<Section>} */
async function profileSection(server, { loopRows }) {
  const title = `${NAMES[server.kind]}: where the JavaScript thread spends a drain to the batch handler`
  return { title, text: await profileTable(server, loopRows) }
}

/** Latency with the server's own journal interval, and with a short one. @param {any} server @param {Sizes} sizes */
async function* journalSections(server, sizes) {
  const { client, drop } = await freshMongodb(server)
  const set = (/** @type {number} */ journalCommitInterval) =>
    client.db('admin').command({ setParameter: 1, journalCommitInterval })
  yield* latencySections(server, sizes, ', journal interval 100 ms (default)')
  await set(1)
  yield* latencySections(server, sizes, ', journal interval 1 ms')
  await set(100)
  await drop()
}

/** @param {any} server @param {Sizes} sizes @returns {Promise<Section>} */
async function scaleSection(server, { rows, runs }) {
  const line = (name, reports, columns) => {
    const micros = reports.map(report => (report.cpuMs / report.rows) * 1000)
    const cells = micros.map(micro => (micro * 1000) / columns)
    return [name, withSpread(reports.map(rateOf)), withSpread(micros), withSpread(cells)]
  }
  const lines = []
  for (const tables of [1, 20, 200])
    lines.push(
      line(
        `${tables} ${tables === 1 ? 'table' : 'tables'} of 10 columns`,
        await manyTables(server, { rows, runs, tables }),
        10
      )
    )
  for (const columns of [30, 100])
    lines.push(
      line(`1 table of ${columns} columns`, await manyColumns(server, { rows, runs, columns }), columns)
    )
  const { all, one } = await filtered(server, { rows, runs })
  const [whole, dropped] = [all, one].map(reports => median(reports.map(report => report.ms)))
  const text = [
    table(['', 'rows/s', 'CPU µs a row', 'CPU ns a cell'], lines),
    '',
    `A filter that drops 99 of 100 tables: ${plain(whole)} ms for all of them, ${plain(dropped)} ms for the one, ${plain(whole / dropped)} times as quick.`,
  ].join('\n')
  return { title: `${NAMES[server.kind]}: many tables, many columns, a filter`, text }
}

/** @param {any} kit @param {Sizes} sizes @returns {AsyncGenerator<Section>} */
async function* sections(kit, sizes) {
  for (const kind of ['mariadb', 'mysql']) {
    const server = await kit[kind]({ args: SERVER })
    yield { title: `${NAMES[kind]} ${server.version}`, text: '' }
    yield* sqlDrains(server, sizes)
    yield* latencySections(server, sizes)
    if (kind === 'mariadb') {
      yield await loopSection(server, sizes)
      yield await profileSection(server, sizes)
      yield await scaleSection(server, sizes)
      yield await manySection(server, sizes)
      if (sizes.farRows > 0) yield await farSection(server, sizes)
      yield await costSection(server, sizes)
    }
    await server.remove()
  }
  const server = await kit.mongodb()
  yield { title: `MongoDB ${server.version}`, text: '' }
  yield await mongodbDrain(server, sizes)
  yield* journalSections(server, sizes)
  await server.remove()
}

module.exports = { sections }
