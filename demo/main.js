'use strict'

// The demo: a shop in a database, a process that writes to it, a process that follows it and is killed before your eyes, and in the end
// a table that was rebuilt from the changes, held against the database.

const { fork, spawn } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const readline = require('node:readline')
const { setTimeout: sleep } = require('node:timers/promises')
const { isDeepStrictEqual } = require('node:util')

/** So many changes a second are shown one by one. */
const SHOWN = 4
const DEADLINE_MS = 15_000

/** A writer, told what to do. */
class Writer {
  #process
  #lines = /** @type {string[]} */ ([])
  #wake = () => {}

  /** @param {string} url @param {string} table @param {string} folder */
  constructor(url, table, folder) {
    const script = name => path.join(__dirname, 'writers', name)
    const { protocol } = new URL(url)
    if (protocol === 'sqlite:') {
      const file = path.join(folder, 'shop.db')
      this.#process = spawn('python3', [script('sqlite.py'), file, table], {
        stdio: ['pipe', 'pipe', 'inherit'],
      })
    } else {
      const name = protocol.startsWith('mongodb') ? 'mongodb.js' : 'sql.js'
      this.#process = spawn(process.execPath, [script(name), url, table], {
        stdio: ['pipe', 'pipe', 'inherit', 'ipc'],
      })
    }
    const { stdout } = /** @type {any} */ (this.#process)
    readline.createInterface({ input: stdout }).on('line', line => {
      this.#lines.push(line)
      this.#wake()
    })
    this.exited = new Promise(resolve => {
      this.#process.once('exit', () => {
        resolve(undefined)
        this.#wake()
      })
    })
  }

  /** The next line that it prints. */
  async says() {
    while (this.#lines.length === 0) {
      if (this.#process.exitCode !== null) throw new Error('the writer ended')
      await new Promise(resolve => (this.#wake = () => resolve(undefined)))
    }
    return /** @type {string} */ (this.#lines.shift())
  }

  begin() {
    this.#process.stdin?.write('begin\n')
  }

  /** Ends the writing; resolves with what the table holds. */
  async contents() {
    this.#process.stdin?.end()
    return JSON.parse(await this.says())
  }

  /** Leaves nothing behind. */
  async end() {
    if (this.#process.connected) this.#process.send('end')
    await this.exited
  }

  kill() {
    this.#process.kill('SIGKILL')
  }
}

/** What was delivered, and the table that it makes. */
class Rebuilt {
  changes = 0
  repeated = 0
  rows = new Map()
  #ids = new Set()
  /** @type {number[]} */
  latencies = []

  /** @param {any} change */
  take({ id, op, key, after, latency }) {
    if (this.#ids.has(id)) {
      this.repeated++
      return
    }
    this.#ids.add(id)
    this.changes++
    const at = key.id ?? key._id
    if (op === 'delete') this.rows.delete(at)
    else this.rows.set(at, { ...this.rows.get(at), ...after })
    if (latency !== null) this.latencies.push(latency)
  }

  /** @param {any[]} contents */
  equals(contents) {
    const theirs = new Map(contents.map(row => [row.id ?? row._id, row]))
    return isDeepStrictEqual(this.rows, theirs)
  }
}

/** @param {number[]} values @param {number} share */
function quantile(values, share) {
  if (values.length === 0) return '–'
  const sorted = values.toSorted((a, b) => a - b)
  return `${sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))].toFixed(2)} ms`
}

/** @param {number} hits @param {number} misses */
function share(hits, misses) {
  return `${Math.round((100 * hits) / (hits + misses))} %`
}

/** @param {{ hits: number, misses: number }} reads */
function cacheLine({ hits, misses }) {
  if (hits + misses === 0) return ''
  return `Meanwhile ${hits + misses} reads of rows that change: ${share(hits, misses)} from memory, kept right by the log alone.\n`
}

/** @param {any} change */
function lineOf({ op, key, before, after, changed }) {
  const shown = name => `${name} ${before?.[name] ?? '?'} → ${after?.[name]}`
  const rest = op === 'update' ? changed.filter(name => name !== 'at').map(shown) : [after?.product ?? '']
  return `  ${op.padEnd(7)} ${JSON.stringify(key).padEnd(14)} ${rest.join(', ')}`
}

/** Follows the shop, process after process. */
class Follower {
  rebuilt = new Rebuilt()
  #shown = 0
  #last = { changes: 0, latencies: 0, hits: 0, misses: 0 }
  /** Reads of all processes. */
  reads = { hits: 0, misses: 0 }
  /** @type {import('node:child_process').ChildProcess | null} */
  #process = null

  /** @param {object} argument */
  constructor(argument) {
    this.argument = argument
    this.timer = setInterval(() => this.#second(), 1000)
  }

  /** Resolves when it streams. */
  begin() {
    const child = fork(path.join(__dirname, 'reader.js'), [JSON.stringify(this.argument)])
    this.#process = child
    return new Promise((resolve, reject) => {
      child.on('message', (/** @type {any} */ { changes, ready, reads }) => {
        this.reads.hits += reads?.hits ?? 0
        this.reads.misses += reads?.misses ?? 0
        if (ready !== undefined) resolve(child.pid)
        for (const change of changes ?? []) {
          this.rebuilt.take(change)
          if (this.#shown++ < SHOWN) console.log(lineOf(change))
        }
      })
      child.once('exit', code => reject(new Error(`the reader ended with ${code}`)))
    })
  }

  #second() {
    const { changes, latencies } = this.rebuilt
    const recent = latencies.slice(this.#last.latencies)
    const rate = changes - this.#last.changes
    const [hits, misses] = [this.reads.hits - this.#last.hits, this.reads.misses - this.#last.misses]
    this.#last = { changes, latencies: latencies.length, ...this.reads }
    this.#shown = 0
    const times = `from the statement to the handler p50 ${quantile(recent, 0.5)}, p99 ${quantile(recent, 0.99)}`
    const reads = hits + misses === 0 ? '' : `; ${hits + misses} reads, ${share(hits, misses)} from memory`
    console.log(rate === 0 ? '── nothing arrives' : `── ${rate} changes/s, ${times}${reads}`)
  }

  async kill() {
    const child = this.#process
    child?.removeAllListeners('exit')
    const exited = new Promise(resolve => child?.once('exit', resolve))
    child?.kill('SIGKILL')
    await exited
  }

  async end() {
    clearInterval(this.timer)
    const child = this.#process
    if (child === null || child.exitCode !== null || !child.connected) return
    const exited = new Promise(resolve => child.once('exit', resolve))
    child.send('end')
    await exited
  }
}

/** @param {{ url?: string, seconds: number }} options */
async function demo({ url: given, seconds }) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ultimate-streaming-demo-'))
  const url = given ?? `sqlite://${path.join(folder, 'shop.db')}`
  const table = given === undefined ? 'stock' : `ultimate_streaming_demo_${process.pid}`
  const kind = new URL(url).protocol
  const options = kind.startsWith('mongodb') ? { fullDocument: 'updateLookup' } : {}
  const writer = new Writer(url, table, folder)
  const follower = new Follower({ url, table, checkpoint: path.join(folder, 'checkpoint'), options })
  try {
    await writer.says()
    console.log(`\nA shop in ${kind.replace(':', '')}; process ${await follower.begin()} follows it.\n`)
    writer.begin()
    await sleep((seconds / 2) * 1000)
    console.log('\n✗ kill -9 of the reading process, while the shop goes on\n')
    await follower.kill()
    await sleep(2000)
    console.log(`\n✓ process ${await follower.begin()} goes on at the checkpoint\n`)
    await sleep((seconds / 2) * 1000)
    const contents = await writer.contents()
    const { rebuilt } = follower
    const end = Date.now() + DEADLINE_MS
    while (!rebuilt.equals(contents) && Date.now() < end) await sleep(20)
    const isEqual = rebuilt.equals(contents)
    await follower.end()
    console.log(`
${rebuilt.changes} changes; ${rebuilt.repeated} came again after the kill, each with the id that it had.
The table that they make ${isEqual ? 'equals' : 'DIFFERS FROM'} the one in the database: ${contents.length} rows.
From the statement to the handler: p50 ${quantile(rebuilt.latencies, 0.5)}, p99 ${quantile(rebuilt.latencies, 0.99)} (the time of the kill included).
${cacheLine(follower.reads)}
Now your own:  npx ultimate-streaming tail mysql://user:password@host/database
               npx ultimate-streaming tail mongodb://host/database?replicaSet=rs0
               npx ultimate-streaming tail sqlite:app.db`)
    return isEqual
  } finally {
    await follower.end()
    if (given === undefined) writer.kill()
    else await writer.end()
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

module.exports = { demo }
