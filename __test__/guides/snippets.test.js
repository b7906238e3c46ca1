'use strict'

// Every block of JavaScript and TypeScript in the README and in docs/: it parses, and its types agree with the package's.

const assert = require('node:assert/strict')
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { after, test } = require('node:test')

const ROOT = path.join(__dirname, '../..')
// Inside the repository, so that the package finds itself by its name.
const folder = fs.mkdtempSync(path.join(ROOT, 'target/snippets-'))
after(() => fs.rmSync(folder, { recursive: true, force: true }))

/** What a page has introduced in its prose, or leaves to the reader. */
const GIVEN = `
declare const streamer: Streamer
declare const database: any
declare const db: any
declare const id: any
declare function ship(row: unknown): Promise<void>
declare function index(batch: unknown): Promise<void>
declare function render(id: number): Promise<string>
`

/** Blocks that show a shape or run in the shell of a server. @param {string} body */
const isProgram = body => !body.startsWith('{') && !body.startsWith('db.') && !body.includes('…,')

/** @param {string} page */
function programsOf(page) {
  const text = fs.readFileSync(path.join(ROOT, page), 'utf8')
  return [...text.matchAll(/^```(?:js|ts)\n([^]*?)^```$/gm)].map(match => ({
    body: match[1],
    line: text.slice(0, match.index).split('\n').length,
  }))
}

/** A module of its own: what the block does not declare is given. @param {string} body */
function moduleOf(body) {
  const isRequired = /require\('ultimate-streaming'\)/.test(body)
  const given = GIVEN.split('\n')
    .filter(line => {
      const name = /declare (?:const|function) (\w+)/.exec(line)?.[1]
      return name === undefined || !new RegExp(`(?:const|let|function) ${name}\\b`).test(body)
    })
    .join('\n')
  const code = body
    .replace(
      /const \{ ([^}]*) \} = require\('ultimate-streaming'\)/g,
      "import { $1 } from 'ultimate-streaming'"
    )
    .replace(/const (\{[^}]*\}|\w+) = require\('([^']*)'\)/g, 'const $1: any = null')
  const head = isRequired ? '' : "import { Streamer } from 'ultimate-streaming'\n"
  const kinds =
    isRequired && !/import \{[^}]*Streamer/.test(code)
      ? "import type { Streamer } from 'ultimate-streaming'\n"
      : ''
  return `${head}${kinds}${given}\n${code}\nexport {}\n`
}

test('every snippet of README and docs is typed as the package is', () => {
  const pages = ['README.md', ...fs.readdirSync(path.join(ROOT, 'docs')).map(name => `docs/${name}`)]
  let count = 0
  for (const page of pages.filter(name => name.endsWith('.md'))) {
    for (const { body, line } of programsOf(page)) {
      if (!isProgram(body)) continue
      count++
      fs.writeFileSync(path.join(folder, `${page.replace(/\W/g, '_')}_line_${line}.mts`), moduleOf(body))
    }
  }
  assert.ok(count > 10, `${count} snippets were found`)
  fs.writeFileSync(
    path.join(folder, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        target: 'es2023',
        lib: ['es2023', 'esnext.disposable'],
        module: 'nodenext',
        types: ['node'],
        strict: true,
        // Snippets name the tables that they follow, and variables of the environment, as set.
        strictNullChecks: false,
        noImplicitAny: false,
        noEmit: true,
        skipLibCheck: true,
      },
      include: ['*.mts'],
    })
  )
  const tsc = path.join(ROOT, 'node_modules/typescript/bin/tsc')
  const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' })
  assert.equal(status, 0, stdout)
})
