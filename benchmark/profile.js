'use strict'

// Where the JavaScript thread spends its time while a log is drained: what a flame graph shows, as a table.
//
//   node benchmark/profile.js [--rows 1000000] [--server mariadb] [--event batch|change] [--top 15]
//
// The profile is that of `node --cpu-prof`, of the whole process from its start: a long drain makes the beginning small.

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { runAlone } = require('./alone')
const { SERVER, SHAPES, fill, longLog } = require('./drain')
const { ROOT } = require('./machine')
const { measure } = require('./run')
const { table } = require('./table')

/** What is done in which files; the first that fits. */
const GROUPS = [
  ['building rows: cells, texts, keys', /^lib\/shape\.js$/],
  ['building changes: records, ids, positions', /^lib\/decode\.js$/],
  ['handing over: slices, listeners, acknowledgements', /^lib\/(delivery|dispatch|streamer|intake)\.js$/],
  ["the benchmark's own handler, which reads every value", /^benchmark\//],
  ['everything else of JavaScript, loading included', /./],
]

/** What the profiler calls time outside of JavaScript. */
const OUTSIDE = new Map([
  ['(garbage collector)', 'garbage collection'],
  ['(program)', "native code: the addon's calls, the event loop, text made of bytes"],
  ['(idle)', 'waiting'],
])

/** @param {{ functionName: string, url: string }} frame */
function groupOf({ functionName, url }) {
  const outside = OUTSIDE.get(functionName)
  if (outside !== undefined) return outside
  const file = path.relative(ROOT, url.replace('file://', ''))
  return GROUPS.find(([, pattern]) => /** @type {RegExp} */ (pattern).test(file || '.'))?.[0]
}

/** Adds up a profile: the share of each group, and of the functions. @param {any} profile */
function summary({ nodes, samples, timeDeltas }) {
  const byId = new Map(nodes.map((/** @type {any} */ node) => [node.id, node]))
  const groups = new Map()
  const functions = new Map()
  let all = 0
  samples.forEach((/** @type {number} */ id, /** @type {number} */ index) => {
    const { callFrame } = byId.get(id)
    const took = timeDeltas[index]
    all += took
    const add = (/** @type {Map<any, number>} */ map, /** @type {any} */ key) =>
      map.set(key, (map.get(key) ?? 0) + took)
    add(groups, groupOf(callFrame))
    if (OUTSIDE.has(callFrame.functionName)) return
    const file = path.relative(ROOT, callFrame.url.replace('file://', ''))
    add(functions, `${callFrame.functionName || '(nameless)'} ${file}:${callFrame.lineNumber + 1}`)
  })
  const shares = (/** @type {Map<string, number>} */ map) =>
    [...map].map(([name, took]) => ({ name, share: took / all })).sort((a, b) => b.share - a.share)
  return { groups: shares(groups), functions: shares(functions) }
}

const percent = (/** @type {number} */ share) => `${(share * 100).toFixed(1)} %`

/** Drains once with a profiler. @param {any} task @param {string} kind */
async function profile(task, kind) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'profile-'))
  await measure('ultimate', kind, task, undefined, ['--cpu-prof', `--cpu-prof-dir=${folder}`])
  const [file] = fs.readdirSync(folder)
  const result = summary(JSON.parse(fs.readFileSync(path.join(folder, file), 'utf8')))
  fs.rmSync(folder, { recursive: true })
  return result
}

/** The groups of a drain to the `batch` handler, as a table. @param {any} server @param {number} rows */
async function profileTable(server, rows) {
  const { database, task } = await longLog(server, rows)
  const { groups } = await profile(task, 'drain')
  await database.drop()
  return table(
    ['', 'share of the time'],
    groups.map(({ name, share }) => [name, percent(share)])
  )
}

module.exports = { profileTable }

if (require.main === module) {
  const defaults = { rows: '1000000', server: 'mariadb', event: 'batch', top: '15', shape: '0' }
  runAlone(defaults, async (kit, values) => {
    const server = await kit[values.server]({ args: SERVER })
    const { database, task } = await fill(server, SHAPES[Number(values.shape)], Number(values.rows))
    const { groups, functions } = await profile(task, values.event === 'batch' ? 'drain' : 'drainSingly')
    for (const { name, share } of groups) console.log(percent(share).padStart(7), name)
    console.log('\nof JavaScript, by function:')
    for (const { name, share } of functions.slice(0, Number(values.top)))
      console.log(percent(share).padStart(7), name)
    await database.drop()
    await server.remove()
  })
}
