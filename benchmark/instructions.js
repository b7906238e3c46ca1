'use strict'

// What a row costs the engine, in instructions, counted by callgrind: unlike a time, nearly the same whatever else the machine does.
//
//   node benchmark/instructions.js [--rows 50000] [--server mariadb,mysql] [--example path/to/drain] [--top 15]
//
// `examples/drain.rs` reads the same log twice, the second time twice as far: the difference is what the rows cost, without the
// beginning. `--top` lists the functions in which they are spent; that needs an example with symbols
// (`CARGO_PROFILE_RELEASE_STRIP=none`).

const { execFileSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { runAlone } = require('./alone')
const { SERVER, SHAPES, fill } = require('./drain')
const { ROOT } = require('./machine')

/** Rows behind those that are counted: what is read ahead of them is then the same each time. */
const AHEAD = 50_000

/** Builds the example as the release is built. */
function build() {
  const target = process.env.CARGO_TARGET_DIR ?? path.join(ROOT, 'target')
  const args = ['build', '--release', '--locked', '--quiet', '-p', 'streamer-core', '--example', 'drain']
  execFileSync('cargo', args, { cwd: ROOT, stdio: 'inherit' })
  return path.join(target, 'release/examples/drain')
}

/** Instructions by function, and of all. @param {string} example @param {string} url @param {number} rows */
function count(example, url, rows) {
  const file = path.join(os.tmpdir(), `callgrind.${process.pid}.${rows}`)
  const tool = ['--tool=callgrind', `--callgrind-out-file=${file}`, '--quiet']
  execFileSync('valgrind', [...tool, example, url, String(rows)], { stdio: ['ignore', 'inherit', 'inherit'] })
  const options = ['--threshold=100', '--auto=no', '--show-percs=no', file]
  const text = execFileSync('callgrind_annotate', options, { encoding: 'utf8', maxBuffer: 2 ** 28 })
  fs.rmSync(file)
  /** @type {Map<string, number>} */
  const functions = new Map()
  let all = 0
  for (const line of text.split('\n')) {
    const [, number, name] = /^\s*([\d,]+)\s+(\S.*)$/.exec(line) ?? []
    if (number === undefined) continue
    const instructions = Number(number.replaceAll(',', ''))
    if (name.startsWith('PROGRAM TOTALS')) all = instructions
    else if (name.includes(':')) {
      const short = name.replace(/^[^:]*:/, '').replace(/ \[.*$/, '')
      functions.set(short, (functions.get(short) ?? 0) + instructions)
    }
  }
  return { all, functions }
}

/** Instructions a row, and the functions that cost most. @param {string} example @param {string} url @param {number} rows */
function perRow(example, url, rows) {
  const once = count(example, url, rows)
  const twice = count(example, url, rows * 2)
  const functions = [...twice.functions]
    .map(([name, number]) => ({ name, each: (number - (once.functions.get(name) ?? 0)) / rows }))
    .sort((a, b) => b.each - a.each)
  return { each: (twice.all - once.all) / rows, functions }
}

module.exports = { perRow }

if (require.main === module) {
  const defaults = { rows: '50000', server: 'mariadb,mysql', shape: '0,1,2', example: '', top: '0' }
  runAlone(defaults, async (kit, values) => {
    const example = values.example || build()
    const rows = Number(values.rows)
    for (const kind of values.server.split(',')) {
      const server = await kit[kind]({ args: SERVER })
      for (const shape of values.shape.split(',').map(index => SHAPES[Number(index)])) {
        const { database } = await fill(server, shape, rows * 2 + AHEAD)
        const { each, functions } = perRow(example, database.url, rows)
        console.log(`${kind} ${server.version}, ${shape.title}: ${Math.round(each)} instructions a row`)
        for (const { name, each } of functions.slice(0, Number(values.top)))
          console.log(`${each.toFixed(1).padStart(9)}  ${name}`)
        await database.drop()
      }
      await server.remove()
    }
  })
}
