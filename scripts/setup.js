'use strict'

// What every command needs on a fresh machine that has Node, Rust and Python: the packages, the addon, the test kit, and the
// database servers. Each step says what it does, and does nothing where everything is there.

const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')

const ROOT = path.join(__dirname, '..')

/**
 * Runs a command, showing its output; ends this process where it fails.
 * @param {string} command
 * @param {string[]} args
 * @param {import('node:child_process').SpawnSyncOptions} [options]
 */
function run(command, args, options = {}) {
  console.log(`$ ${[command, ...args].join(' ')}`)
  const result = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit', ...options })
  if (result.error || result.status !== 0) {
    console.error(`${command} failed: ${result.error?.message ?? `exit code ${result.status}`}`)
    process.exit(result.status ?? 1)
  }
}

/** The newest change of a file, or 0. @param {string} file */
function modified(file) {
  try {
    return fs.statSync(path.join(ROOT, file)).mtimeMs
  } catch {
    return 0
  }
}

/** Packages as the lock file of a folder has them. @param {string} [folder] */
function packages(folder = '.') {
  const lock = path.join(folder, 'package-lock.json')
  if (modified(path.join(folder, 'node_modules/.package-lock.json')) >= modified(lock)) return
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: path.join(ROOT, folder) })
}

/** The platform's name, as Rust has it. The addon is built for it by name, and what is built so is not built again by who names it too. */
function platform() {
  const { stdout } = spawnSync('rustc', ['-vV'], { cwd: ROOT, encoding: 'utf8' })
  const found = /^host: (.+)$/m.exec(stdout ?? '')
  if (found === null) throw new Error('Rust is needed: https://rustup.rs')
  return found[1]
}

/** The addon for this platform. @param {{ release: boolean }} options */
function addon({ release }) {
  const isFirst = !fs.existsSync(path.join(ROOT, 'target', platform(), release ? 'release' : 'debug'))
  if (isFirst) console.log('The first build takes some minutes; Cargo tells what it is at.')
  run('npm', ['run', '--silent', release ? 'build' : 'build:debug'])
}

/** The test kit, and the servers that it starts. @param {string[]} servers */
function servers(servers) {
  run('cargo', ['build', '--locked', '--quiet', '-p', 'streamer-testkit'])
  run(path.join('target', 'debug', 'streamer-testkit'), ['install', ...servers])
}

module.exports = { ROOT, addon, packages, platform, run, servers }
