'use strict'

// `npm run bench`: this library beside its peers, on the same servers, in the same run. Prints tables, and writes docs/benchmarks.md
// with a chart. `--quick` is a short form that shows that everything runs, and writes nothing; its figures mean little.

const fs = require('node:fs')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { openKit } = require('../__test__/support/servers')
const { chart } = require('./chart')
const { ROOT, machine, versions } = require('./machine')
const { sections } = require('./sections')

const WHOLE = {
  rows: 300_000,
  runs: 5,
  seconds: 4,
  loopRows: 5_000_000,
  rates: [100, 1000],
  shapes: [0, 1, 2],
  farRows: 10_000_000,
  streamers: [1, 4, 16],
}
const QUICK = {
  rows: 10_000,
  runs: 1,
  seconds: 1,
  loopRows: 100_000,
  rates: [200],
  shapes: [0, 1],
  farRows: 0,
  streamers: [2],
}

const INTRODUCTION = `# Benchmarks

\`npm run bench\` measures this library beside its peers and writes this page. Each measurement runs in a
process of its own, the contenders take turns, and every one of them must read every value: a checksum over all rows is
compared. Figures are the median of the runs, with the lowest and the highest in brackets. They say how contenders compare on one
machine, on which the server, the reader and the writer share the cores; measure on yours.

- *rows/s* counts from the first row that the handler sees to the last one, of a log that is already there. Rows have ten
  columns: INT, BIGINT, four texts (one row in twenty beyond ASCII), DECIMAL, DOUBLE, TINYINT, DATETIME; about 200 bytes.
- *the limit* is a bare socket that asks for the same log and throws it away, or a cursor whose raw replies are only
  counted: nobody can read faster.
- *CPU s a million* is the CPU time of the whole process, all threads, for a million rows.
- *HTTP* is a server in the contender's process that another process asks every 2 ms; the first 200 answers are not counted.
- A latency is negative where the handler was called before the writer heard that its commit was done.
`

/** @param {import('./sections').Section[]} all @param {{ runs: number, rows: number }} sizes */
function page(all, { runs, rows }) {
  const parts = [
    INTRODUCTION,
    `Measured on ${machine()}. ${runs} runs each, ${rows.toLocaleString('en-US')} rows a drain. ${versions()}.\n`,
    '![Rows a second](benchmarks.svg)\n',
  ]
  for (const { title, text } of all) parts.push(text === '' ? `## ${title}\n` : `### ${title}\n\n${text}\n`)
  return parts.join('\n')
}

async function main() {
  const { values } = parseArgs({
    options: { quick: { type: 'boolean', default: false }, runs: { type: 'string' } },
  })
  const sizes = { ...(values.quick ? QUICK : WHOLE), ...(values.runs && { runs: Number(values.runs) }) }
  console.log(`${machine()}\n${versions()}\n${sizes.runs} runs each`)
  const kit = await openKit()
  const all = []
  for await (const section of sections(kit, sizes)) {
    console.log(`\n${section.title}\n${section.text}`)
    all.push(section)
    // Anew after each section: a run that is cut short leaves what it has measured.
    if (!values.quick) write(all, sizes)
  }
  await kit.close()
}

/** @param {import('./sections').Section[]} all @param {{ runs: number, rows: number }} sizes */
function write(all, sizes) {
  const groups = all.flatMap(section => section.groups ?? [])
  fs.writeFileSync(path.join(ROOT, 'docs/benchmarks.svg'), chart('Rows a second', groups))
  fs.writeFileSync(path.join(ROOT, 'docs/benchmarks.md'), page(all, sizes))
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
