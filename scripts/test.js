'use strict'

// `npm test`: everything that must hold, in one run. Installs what is missing (servers and a browser: as root on Debian), builds, lints,
// and runs the tests in Rust, in JavaScript, and against real servers.

const { spawn } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { ROOT, addon, packages, platform, run, servers } = require('./setup')

/** Runs a command, shows its output, and resolves with it. @param {string} command @param {string[]} args */
function shown(command, args) {
  console.log(`$ ${[command, ...args].join(' ')}`)
  return new Promise(resolve => {
    const child = spawn(command, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.on('data', chunk => {
      output += chunk
      process.stdout.write(chunk)
    })
    child.on('error', error => resolve({ output: error.message, code: 1 }))
    child.on('exit', code => resolve({ output, code: code ?? 1 }))
  })
}

/** @param {string} output @param {RegExp} pattern */
function sum(output, pattern) {
  return [...output.matchAll(pattern)].reduce((total, [, count]) => total + Number(count), 0)
}

/** Test files of a folder. @param {string} folder */
function testFiles(folder) {
  return fs
    .readdirSync(path.join(ROOT, folder))
    .filter(name => name.endsWith('.test.js'))
    .map(name => path.join(folder, name))
}

async function main() {
  packages()
  packages('examples')
  servers(['mariadb', 'mysql', 'mongodb', 'redis', 'openssl', 'chromium'])
  run('npm', ['run', '--silent', 'lint'])
  addon({ release: false })
  // The loader and its typings are generated and committed: they must be what the build makes.
  run('git', ['diff', '--exit-code', '--', 'native.js', 'native.d.ts'])
  run('npm', ['run', '--silent', 'lint:package'])
  const rust = await shown('cargo', [
    'test',
    '--locked',
    '--workspace',
    '--quiet',
    '--no-fail-fast',
    '--target',
    platform(),
  ])
  const files = [
    '__test__',
    '__test__/cache',
    '__test__/capture',
    '__test__/guides',
    '__test__/mongodb',
    '__test__/poll',
    '__test__/snapshot',
    '__test__/sqlite',
  ].flatMap(testFiles)
  const js = await shown(process.execPath, [
    '--test',
    '--test-reporter=spec',
    '--test-concurrency=2',
    // A test that hangs fails by its name, instead of the whole run by its length.
    '--test-timeout=600000',
    // What a failed test left open does not keep its file from ending.
    '--test-force-exit',
    ...files,
  ])
  const passed = sum(rust.output, /(\d+) passed/g) + sum(js.output, /^. pass (\d+)$/gm)
  const failed = sum(rust.output, /(\d+) failed/g) + sum(js.output, /^. fail (\d+)$/gm)
  console.log(`\nRust and JavaScript together: ${passed} passed, ${failed} failed`)
  process.exit(rust.code !== 0 || js.code !== 0 ? 1 : 0)
}

main()
