'use strict'

// Loads the native addon, once, when the first streamer is made: `version`, the error class and `--help` work without it.

const { isMainThread } = require('node:worker_threads')
const { version } = require('../package.json')
const { StreamerError } = require('./errors')

/**
 * The form in which the engine and this JavaScript talk: the methods of `Engine`, the layout of a batch, the notices. Raised here and in
 * `src/version.rs` with each change of it, so that an addon that was not built again is noticed.
 */
const BOUNDARY = 2

/**
 * The native engine.
 * @typedef {object} Engine
 * @property {() => Promise<void>} start
 * @property {(timeoutMs: number) => Promise<void>} stop
 * @property {(sequence: number, into: Buffer) => void} fetch
 * @property {(sequence: number) => void} acknowledge
 * @property {(source: string, position: string) => void} progress
 * @property {() => Promise<void>} settle
 * @property {(source: string | undefined, patterns: string[]) => string} snapshot
 * @property {() => string} health
 * @property {() => string} metrics
 * @property {(source: string | undefined, sql: string, values: any[], ttlMs: number | undefined, into: Buffer) => number} lookup
 * @property {(source: string | undefined, sql: string, values: any[], bypasses: boolean, ttlMs?: number, after?: string, ticket?: number) => Promise<any>} query
 * @property {(source: string | undefined, namespace: string, request: Buffer, ttlMs: number | undefined, into: Buffer) => number} lookupFind
 * @property {(into: Buffer) => number} found
 * @property {() => string | null} foundColumns
 * @property {(source: string | undefined, namespace: string, request: Buffer, bypasses: boolean, ttlMs?: number, after?: string, ticket?: number) => Promise<any>} find
 * @property {(ticket: number) => void} giveUp
 * @property {(source: string | undefined) => string | null} position
 * @property {(source: string | undefined, sql: string, values: any[]) => Promise<string>} execute
 * @property {(source: string | undefined, sql: string) => Promise<string>} explain
 * @property {(source: string | undefined, namespace: string, request: Buffer) => Promise<string>} explainFind
 * @property {(source: string | undefined, key: string, into: Buffer) => number} wrapped
 * @property {(source: string | undefined) => number} announceLoad
 * @property {(load: number, source: string | undefined, key: string, format: string, dependsOn: string, ttlMs: number | undefined, renews: boolean) => Promise<null | Buffer>} beginLoad
 * @property {(load: number) => boolean} isLoadCurrent
 * @property {(load: number, key: string, format: string, value?: Buffer, ttlMs?: number) => boolean} endLoad
 * @property {(source: string | undefined, key: string, format: string) => boolean} dropKey
 * @property {(source: string | undefined, dependsOn: string) => Promise<null>} invalidate
 * @property {() => void} clearCache
 * @property {() => string} cacheStats
 */
/** @typedef {(kind: number, sequence: number, source: string, payload: any) => void} OnItem */
/** @typedef {new (configJson: string, onItem: OnItem) => Engine} EngineClass */

/** @type {EngineClass | undefined} */
let engineClass

let hasWarned = false

/** Node before 24.14 may use freed memory when a worker with an active thread-safe function ends. */
function warnInWorker() {
  if (hasWarned || isMainThread || process.versions.bun !== undefined) return
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > 24 || (major === 24 && minor >= 14)) return
  hasWarned = true
  process.emitWarning(
    `ultimate-streaming runs in a worker thread of Node.js ${process.versions.node}. Before Node.js 24.14, a worker that is terminated while a streamer runs can crash the process.`,
    {
      code: 'STREAMER_WORKER',
      detail: 'Call stop() before the worker ends, or use Node.js 24.14 or later.',
    }
  )
}

/** Which C library this is; only Linux has two. */
function libc() {
  if (process.platform !== 'linux') return ''
  // Without the network interfaces, which may take seconds to list.
  const report = /** @type {any} */ (process.report)
  if (report === undefined) return ''
  const excluded = report.excludeNetwork
  report.excludeNetwork = true
  const { header } = report.getReport()
  report.excludeNetwork = excluded
  return header.glibcVersionRuntime === undefined ? '-musl' : '-gnu'
}

/** @param {unknown} cause */
function addonMissing(cause) {
  const platform = `${process.platform}-${process.arch}${process.platform === 'win32' ? '-msvc' : libc()}`
  const name = `ultimate-streaming-${platform}`
  return new StreamerError(
    `The native addon for ${platform} could not be loaded; it comes with the package "${name}". Install again with optional dependencies (remove node_modules and package-lock.json first: npm may have skipped it, see https://github.com/npm/cli/issues/4828).`,
    { code: 'ERR_STREAMER_ADDON_MISSING', retry: 'operator', details: { platform, package: name }, cause }
  )
}

/** @typedef {{ VERSION: string, BOUNDARY: number, Engine: EngineClass, uninstallSqlite: (place: string) => number[] }} Addon */

/**
 * An addon of another version would fail later, and less clearly.
 * @param {Partial<Addon>} addon
 */
function addonMismatched({ VERSION, BOUNDARY: boundary }) {
  const found =
    VERSION === undefined ? 'one of an earlier version' : `version ${VERSION} (boundary ${boundary})`
  return new StreamerError(
    `A native addon of version ${version} (boundary ${BOUNDARY}) was expected beside this JavaScript, ${found} was found. Install again with optional dependencies (remove node_modules and package-lock.json first); in a clone of the repository, build it again (npm run build).`,
    {
      code: 'ERR_STREAMER_ADDON_MISMATCHED',
      retry: 'operator',
      details: {
        expected: { version, boundary: BOUNDARY },
        found: { version: VERSION ?? null, boundary: boundary ?? null },
      },
    }
  )
}

/** @returns {Addon} */
function loadAddon() {
  let addon
  try {
    // @ts-ignore The build makes this file; the type checks do not need it.
    addon = require('../native.js')
  } catch (error) {
    throw addonMissing(error)
  }
  if (addon.VERSION !== version || addon.BOUNDARY !== BOUNDARY) throw addonMismatched(addon)
  return addon
}

/** @returns {EngineClass} */
function loadEngine() {
  engineClass ??= loadAddon().Engine
  warnInWorker()
  return engineClass
}

module.exports = { BOUNDARY, loadAddon, loadEngine }
