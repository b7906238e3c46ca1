'use strict'

// Follows docs/quick-start.md word by word: runs its commands and programs in empty folders, with the package as npm would install
// it, compares what they print with what the page says, and tells how long it took.
//   node scripts/quick-start.js [--mysql URL] [--mariadb URL] [--mongodb URL]
//
// A block of `sh` is typed into the first terminal, or into the second where the sentence before says so. A block of `text` is what
// the first terminal shows, whatever the time and the name of the database. A block of `js` is saved as the name in the sentence before.

const { spawn, spawnSync } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { ROOT } = require('./setup')

const DEADLINE_MS = 120_000

/** @typedef {{ language: string, body: string, before: string }} Block */

/** The parts of the page: headings, and blocks of code with the prose in front of each. @param {string} page */
function partsOf(page) {
  return page
    .split(/^## /m)
    .slice(1)
    .map(part => {
      const [heading] = part.split('\n', 1)
      /** @type {Block[]} */
      const blocks = []
      let end = 0
      for (const match of part.matchAll(/^```(\w+)\n([^]*?)^```$/gm)) {
        blocks.push({ language: match[1], body: match[2], before: part.slice(end, match.index) })
        end = match.index + match[0].length
      }
      return { heading, blocks, after: part.slice(end) }
    })
}

/** The package and its addon for this platform, packed as they are published. @param {string} folder @returns {string[]} */
function pack(folder) {
  const [addon] = fs.readdirSync(ROOT).filter(name => name.endsWith('.node'))
  const platform = addon?.split('.')[1]
  if (platform === undefined) throw new Error('The addon is missing: npm run build:debug makes it.')
  const staged = path.join(folder, platform)
  fs.cpSync(path.join(ROOT, 'npm', platform), staged, { recursive: true })
  fs.copyFileSync(path.join(ROOT, addon), path.join(staged, addon))
  return [ROOT, staged].map(from => {
    const { status, stdout, stderr } = spawnSync('npm', ['pack', '--silent', '--pack-destination', folder], {
      cwd: from,
      encoding: 'utf8',
    })
    if (status !== 0) throw new Error(stderr)
    return path.join(folder, stdout.trim())
  })
}

/** A shell that a person types into. */
class Terminal {
  #child
  output = ''

  /** @param {string} command @param {{ cwd: string, env: NodeJS.ProcessEnv }} place */
  constructor(command, place) {
    console.log(`  $ ${command}`)
    // A group of its own: Ctrl-C reaches everything that it started.
    this.#child = spawn('sh', ['-c', command], {
      ...place,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.on('data', data => (this.output += data))
    }
    this.hasExited = false
    this.exited = once(this.#child, 'close').then(([code, signal]) => {
      this.hasExited = true
      return code ?? signal
    })
  }

  /** Resolves when everything that it started has ended. @param {unknown[]} [ends] */
  async done(ends = [0]) {
    const timer = setTimeout(() => this.signal('SIGKILL'), DEADLINE_MS)
    const code = await this.exited
    clearTimeout(timer)
    if (!ends.includes(code)) throw new Error(`It ended with ${code}:\n${this.output}`)
  }

  /** Resolves when the text is there, in this order. @param {string} text */
  async shows(text) {
    const end = Date.now() + DEADLINE_MS
    const words = new RegExp(
      text
        .trim()
        .split('\n')
        .map(line => line.trim().replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
        .map(line => line.replace(/\d\d:\d\d:\d\d\\\.\d{3}/, '\\d\\d:\\d\\d:\\d\\d\\.\\d{3}'))
        .map(line => line.replace(/ shop\\\./, ' \\w+\\.'))
        .join('[^]*')
    )
    while (!words.test(this.output)) {
      if (this.hasExited || Date.now() > end) {
        this.signal('SIGKILL')
        throw new Error(`The page says\n${text}\nbut it printed\n${this.output}`)
      }
      await new Promise(resolve => setTimeout(resolve, 20))
    }
    console.log(text.trim().replace(/^/gm, '    '))
  }

  /** @param {NodeJS.Signals} name */
  signal(name) {
    if (!this.hasExited && this.#child.pid !== undefined) process.kill(-this.#child.pid, name)
  }
}

/** Ends what runs in the first terminal where the prose says so. @param {string} prose @param {Terminal | null} first */
async function interrupted(prose, first) {
  if (first === null || !prose.includes('Ctrl-C ends it')) return first
  first.signal('SIGINT')
  // npx and the shell die of the signal that the program between them takes as a wish.
  await first.done([0, 130, 'SIGINT'])
  return null
}

/** @param {ReturnType<typeof partsOf>[0]} part @param {string | undefined} url @param {string[]} packages */
async function follow({ blocks, after }, url, packages) {
  const cwd = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-quick-start-'))
  const place = {
    cwd,
    env: { ...process.env, npm_config_audit: 'false', npm_config_fund: 'false', DATABASE_URL: url },
  }
  /** @type {Terminal | null} */
  let first = null
  try {
    for (const [index, { language, body, before }] of blocks.entries()) {
      first = await interrupted(before, first)
      if (language === 'text') {
        await first?.shows(body)
      } else if (language === 'js') {
        const name = /Save this as `([\w.]+)`/.exec(before)?.[1]
        if (name === undefined) throw new Error(`The page does not say where to save:\n${body}`)
        fs.writeFileSync(path.join(cwd, name), body)
      } else {
        const commands = body
          .trim()
          .split('\n')
          .filter(line => !line.startsWith('export '))
        for (const [at, command] of commands.entries()) {
          const installed = command.replace('install ultimate-streaming', `install ${packages.join(' ')}`)
          const terminal = new Terminal(installed, place)
          const isLast = at === commands.length - 1
          if (isLast && blocks[index + 1]?.language === 'text' && !/second\s+terminal/.test(before))
            first = terminal
          else await terminal.done()
        }
      }
    }
    first = await interrupted(after, first)
    if (first !== null) throw new Error('The page leaves something running.')
  } finally {
    first?.signal('SIGKILL')
    fs.rmSync(cwd, { recursive: true, force: true })
  }
}

async function main() {
  const { values } = parseArgs({
    options: { mysql: { type: 'string' }, mariadb: { type: 'string' }, mongodb: { type: 'string' } },
  })
  const page = fs.readFileSync(path.join(ROOT, 'docs/quick-start.md'), 'utf8')
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-pack-'))
  const times = []
  try {
    const packages = pack(folder)
    for (const part of partsOf(page).filter(({ blocks }) => blocks.length > 0)) {
      const isSqlite = part.heading.startsWith('SQLite')
      const kinds = /** @type {const} */ (['mysql', 'mariadb', 'mongodb'])
      const urls = kinds.filter(kind => part.heading.toLowerCase().includes(kind)).map(kind => values[kind])
      for (const url of isSqlite ? [undefined] : urls.filter(url => url !== undefined)) {
        console.log(`\n${part.heading}`)
        const begin = performance.now()
        await follow(part, url, packages)
        times.push(`${part.heading}: ${((performance.now() - begin) / 1000).toFixed(1)} s`)
      }
    }
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
  console.log(`\n${times.join('\n')}`)
}

main().catch(error => {
  console.error(error.message)
  process.exit(1)
})
