'use strict'

// The same faults on this library and on its peers, in the same run: npm run chaos:peers [-- --source mariadb --write]
// Both follow the same table while a writer goes on. After each fault: when the application was told, when rows came again, what
// was missing. A process that did not go on is begun anew for the next fault. `--write` puts the tables into docs/delivery.md.

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { setTimeout: sleep } = require('node:timers/promises')
const { parseArgs } = require('node:util')
const { eventually, openKit } = require('../../__test__/support/servers')
const { Follower } = require('./follower')
const { mongodbSide } = require('./mongodb')
const { sqlSide } = require('./sql')

/** So long after a fault has ended rows may come again. */
const PATIENCE_MS = 60_000
const SOURCES = ['mariadb', 'mysql', 'mongodb']
const DOCUMENT = path.join(__dirname, '../../docs/delivery.md')

/** Writes numbered rows all the while, each until it is known to be committed. */
class Numbers {
  newest = 0
  #isEnded = false
  #work

  /** @param {(n: number) => Promise<void>} write which must do nothing where `n` is there already */
  constructor(write) {
    this.#work = (async () => {
      while (!this.#isEnded) {
        const n = this.newest + 1
        try {
          await write(n)
          this.newest = n
          await sleep(10)
        } catch {
          await sleep(50)
        }
      }
    })()
  }

  async end() {
    this.#isEnded = true
    await this.#work
  }
}

const seconds = ms => `${(ms / 1000).toFixed(1)} s`

/** One contender through one fault. @param {Follower} follower @param {Numbers} numbers @param {{ began: number, ended: number, first: number }} fault */
async function outcome(follower, numbers, { began, ended, first }) {
  const behind = numbers.newest + 1
  const end = performance.now() + PATIENCE_MS
  while (performance.now() < end && follower.newest < behind && !follower.isGone) await sleep(20)
  const wentOn = follower.newest >= behind
  const told = follower.told.find(({ at }) => at >= began)
  // What was committed between the first row that it was sure to follow and the last that it has.
  let missing = 0
  for (let n = first; n <= follower.newest; n++) if (!follower.at.has(n)) missing++
  const again = [...follower.at.entries()].find(([n]) => n >= behind)
  return {
    wentOn,
    told: told ? `${seconds(told.at - began)} (${told.what})` : 'never',
    again: wentOn
      ? `${seconds(Math.max(0, /** @type {any} */ (again)[1] - ended))}`
      : follower.isGone
        ? 'never: the process ended'
        : `not within ${PATIENCE_MS / 1000} s`,
    missing: wentOn ? String(missing) : 'everything since',
    doubled: follower.doubled,
  }
}

/** @param {any} kit @param {string} source */
async function through(kit, source) {
  const side = await (source === 'mongodb' ? mongodbSide(kit) : sqlSide(kit, source))
  const numbers = new Numbers(n => side.write(n))
  /** @type {Map<string, Follower>} */
  const followers = new Map()
  const begin = async () => {
    for (const { name, script, argument } of side.contenders) {
      if (followers.has(name)) continue
      followers.set(name, new Follower(script, argument))
    }
    for (const [name, follower] of followers) {
      const before = follower.newest
      await eventually(() => follower.newest > before, { deadlineMs: 30_000, what: `rows at ${name}` })
    }
  }
  const table = []
  for (const { name: fault, inject } of side.faults) {
    await begin()
    const first = Math.min(...[...followers.values()].map(follower => follower.newest))
    const firsts = new Map([...followers].map(([name, follower]) => [name, follower.newest]))
    const began = performance.now()
    await inject()
    const ended = performance.now()
    await eventually(() => numbers.newest > first, { deadlineMs: 30_000, what: 'the writer to go on' })
    const outcomes = await Promise.all(
      [...followers].map(async ([name, follower]) => {
        const result = await outcome(follower, numbers, {
          began,
          ended,
          first: /** @type {number} */ (firsts.get(name)),
        })
        return { fault, name, ...result }
      })
    )
    for (const row of outcomes) {
      console.log(
        `${row.fault} | ${row.name} | told ${row.told} | rows again ${row.again} | missing ${row.missing} | doubled ${row.doubled}`
      )
      if (row.wentOn && row.doubled === 0 && row.missing === '0') continue
      await followers.get(row.name)?.end()
      followers.delete(row.name)
    }
    table.push(...outcomes)
  }
  await numbers.end()
  for (const follower of followers.values()) await follower.end()
  await side.close()
  return { title: side.title, table }
}

/** @param {{ title: string, table: any[] }} result */
function markdown({ title, table }) {
  const lines = [
    `**${title}**`,
    '',
    '| fault | reader | the application was told after | rows came again after its end | missing | doubled |',
    '|---|---|---|---|---|---|',
  ]
  for (const { fault, name, told, again, missing, doubled } of table)
    lines.push(`| ${fault} | ${name} | ${told.replaceAll('|', '\\|')} | ${again} | ${missing} | ${doubled} |`)
  return lines.join('\n')
}

/** @param {string} text */
function write(text) {
  const [begin, end] = ['<!-- chaos:peers -->', '<!-- /chaos:peers -->']
  const document = fs.readFileSync(DOCUMENT, 'utf8')
  const [before, rest] = document.split(begin)
  const after = rest?.split(end)[1]
  if (after === undefined) throw new Error(`docs/delivery.md has no place for the tables: ${begin} … ${end}`)
  fs.writeFileSync(DOCUMENT, `${before}${begin}\n\n${text}\n\n${end}${after}`)
}

async function main() {
  const { values } = parseArgs({
    options: {
      source: { type: 'string', multiple: true, default: SOURCES },
      write: { type: 'boolean', default: false },
    },
  })
  const machine = `${os.cpus().length} cores (${os.cpus()[0].model}), ${os.type()} ${os.release()}, Node.js ${process.version}`
  console.log(machine)
  const kit = await openKit()
  const texts = []
  for (const source of values.source) {
    if (!SOURCES.includes(source))
      throw new Error(`--source: expected ${SOURCES.join(', ')}, found ${source}`)
    texts.push(markdown(await through(kit, source)))
  }
  await kit.close()
  if (values.write) write([`Measured on ${machine}.`, ...texts].join('\n\n'))
}

main()
