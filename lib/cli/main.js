'use strict'

// `ultimate-streaming tail`: shows the changes of a database as they happen. Changes go to stdout, everything else to stderr.
// `ultimate-streaming sqlite uninstall`: takes everything that following it has put there out of a SQLite database.
//
// Exit codes: 0 stopped by Ctrl-C, by --limit, or by a reader that has gone; 1 an error while running; 2 a wrong command line or
// configuration; 130 stopped by a second Ctrl-C.

const { parseArgs } = require('node:util')
const { Streamer, StreamerError, version } = require('../../index.js')
const { loadAddon } = require('../addon')
const { errorFromNative } = require('../errors')
const { jsonLine, notice, textLine } = require('./format')

const HELP = `Shows the committed changes of MySQL, MariaDB, MongoDB or SQLite as they happen.

Usage: ultimate-streaming tail [options] <url>
       ultimate-streaming sqlite uninstall <file>

  <url>                  mysql://user:password@host:3306/database, mariadb://…, or
                         mongodb://user:password@host1,host2/database, mongodb+srv://…, or
                         sqlite:path/to/file.db
                         Default: the environment variable STREAMER_URL, which other users of the
                         machine cannot see, as they can see a command line.

  <file>                 A SQLite database, from which triggers and change log are taken out.

Options:
  --tables <list>        Tables as database.table, divided by commas; * and ? match, ! excludes.
                         MongoDB: collections.
                         Default: all tables of the URL's database.
  --ops <list>           Only these: insert, update, replace, delete, read, truncate, drop, rename.
  --from <position>      now (default), earliest, or the position of a change: go on behind it.
  --snapshot             First the rows that the tables hold, as read, then what changes.
  --capture <way>        auto (default): the log, or polling where there is none; log; poll.
  --log <log>            MongoDB: change-stream (default), or oplog, which is sooner and may show
                         what a failover takes back.
  --limit <count>        Stop after so many changes.
  --json                 One JSON document a line. A bigint is a string of digits, a Buffer is
                         {"$binary": "<base64>"}, a date is ISO 8601 text; other values of BSON are
                         MongoDB's extended JSON.
  --dates <form>         date (default) or string: exact text, as the server prints it.
  --integers <form>      bigint (default), string, or always-bigint.
  --full-document <when> MongoDB, the document after an update: default, updateLookup, whenAvailable
                         or required.
  --full-document-before-change <when>
                         MongoDB, the document before a change: off, whenAvailable or required.
  --server-id <number>   Replica id to show to the server. Default: a random free one.
  --tls-ca <file>        PEM file of the authorities to trust.
  --no-tls               Connect in plain text.
  --quiet                Print nothing but changes and errors.
  --help, --version

Changes go to stdout; gaps, progress, definitions that change and lost connections to stderr.
Ctrl-C stops.
Exit codes: 0 stopped, 1 error, 2 wrong usage.`

const OPTIONS = /** @type {const} */ ({
  tables: { type: 'string', multiple: true },
  ops: { type: 'string', multiple: true },
  from: { type: 'string' },
  snapshot: { type: 'boolean' },
  capture: { type: 'string' },
  log: { type: 'string' },
  limit: { type: 'string' },
  json: { type: 'boolean' },
  dates: { type: 'string' },
  integers: { type: 'string' },
  'full-document': { type: 'string' },
  'full-document-before-change': { type: 'string' },
  'server-id': { type: 'string' },
  'tls-ca': { type: 'string' },
  'no-tls': { type: 'boolean' },
  quiet: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'V' },
})

/** @typedef {ReturnType<typeof parse>} Parsed */

/** A wrong command line. */
class UsageError extends Error {}

/** @param {string[]} argv */
function parse(argv) {
  try {
    return parseArgs({ args: argv, options: OPTIONS, allowPositionals: true })
  } catch (error) {
    throw new UsageError(/** @type {Error} */ (error).message)
  }
}

/** A list of several options and commas. @param {string[] | undefined} texts */
function list(texts) {
  return texts?.flatMap(text => text.split(',')).filter(text => text !== '')
}

/** @param {string} name @param {string | undefined} text */
function wholeNumber(name, text) {
  if (text === undefined) return undefined
  if (!/^\d{1,15}$/.test(text)) throw new UsageError(`--${name} expects a whole number, found "${text}".`)
  return Number(text)
}

/** What the command line asks for. @param {Parsed} parsed */
function readCommand({ values, positionals }) {
  const [command, url = process.env.STREAMER_URL, ...rest] = positionals
  if (command !== 'tail') {
    throw new UsageError(
      command === undefined
        ? 'A command is missing: tail.'
        : `There is no command "${command}"; there are tail and sqlite uninstall.`
    )
  }
  if (url === undefined || url === '') throw new UsageError('The URL of a database is missing.')
  if (rest.length > 0) throw new UsageError(`One URL is expected, ${rest.length + 1} arguments were found.`)
  if (values['no-tls'] && values['tls-ca'] !== undefined) throw new UsageError('--no-tls excludes --tls-ca.')
  const limit = wholeNumber('limit', values.limit)
  if (limit === 0) throw new UsageError('--limit expects 1 or more.')
  const { from, capture, log, dates, integers } = values
  const tls = values['no-tls'] ? false : values['tls-ca'] === undefined ? undefined : { ca: values['tls-ca'] }
  return {
    source: {
      url,
      tables: list(values.tables),
      from,
      snapshot: values.snapshot ? 'initial' : undefined,
      capture,
      log,
      dates,
      integers,
      fullDocument: values['full-document'],
      fullDocumentBeforeChange: values['full-document-before-change'],
      tls,
      serverId: wholeNumber('server-id', values['server-id']),
    },
    ops: list(values.ops),
    limit: limit ?? Infinity,
    json: values.json === true,
    quiet: values.quiet === true,
  }
}

/** Takes what is ours out of a SQLite database. @param {Parsed} parsed */
function uninstall({ positionals: [, command, file, ...rest] }) {
  if (command !== 'uninstall') throw new UsageError('Of sqlite there is the command uninstall.')
  if (file === undefined || rest.length > 0) throw new UsageError('The file of one database is expected.')
  try {
    const [triggers, tables] = loadAddon().uninstallSqlite(file)
    console.log(`Removed ${triggers} triggers and ${tables} tables.`)
  } catch (error) {
    throw errorFromNative(error)
  }
}

/** Whether a stream shows colours. @param {NodeJS.WriteStream} stream */
function hasColours(stream) {
  return stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb'
}

/** @param {string} line */
function say(line) {
  process.stderr.write(`${line}\n`)
}

/** The sentence for an error; others than ours are defects and show their stack. @param {unknown} error */
function sentence(error) {
  if (error instanceof StreamerError) return `ultimate-streaming: ${error.message} [${error.code}]`
  return `ultimate-streaming: ${error instanceof Error ? error.stack : error}`
}

/** Shows what happens beside the changes. @param {Streamer} streamer @param {{ quiet: boolean }} command */
function watch(streamer, { quiet }) {
  const colours = hasColours(process.stderr)
  if (!quiet) streamer.on('ready', () => say(notice('ready', {}, colours)))
  for (const event of /** @type {const} */ (['schema', 'snapshot', 'disconnect', 'reconnect'])) {
    if (!quiet) streamer.on(event, (/** @type {any} */ value) => say(notice(event, value, colours)))
  }
  // A gap is never kept quiet.
  streamer.on('gap', (/** @type {any} */ gap) => say(notice('gap', gap, colours)))
}

/** Resolves when stdout takes more, or the signal has been aborted. @param {AbortSignal} signal */
async function drained(signal) {
  // What is written behind an error is never drained, and an abort that has been is no event any more.
  if (signal.aborted) return
  /** @type {() => void} */
  let done = () => {}
  await new Promise(resolve => {
    done = () => resolve(undefined)
    process.stdout.once('drain', done)
    signal.addEventListener('abort', done)
  })
  process.stdout.off('drain', done)
  signal.removeEventListener('abort', done)
}

/** Prints changes until something ends it. @param {ReturnType<typeof readCommand>} command */
async function tail(command) {
  const ended = new AbortController()
  // A reader that has gone (`| head`) ends us, and is no error.
  process.stdout.on('error', (/** @type {NodeJS.ErrnoException} */ error) =>
    ended.abort(error.code === 'EPIPE' ? null : error)
  )
  let interrupts = 0
  const interrupt = () => (++interrupts > 1 ? process.exit(130) : ended.abort(null))
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)

  // What the command line says wrongly, these two refuse.
  const streamer = new Streamer(/** @type {any} */ ({ source: command.source }))
  const changes = streamer.changes(/** @type {any} */ ({ ops: command.ops, signal: ended.signal }))
  watch(streamer, command)
  const colours = hasColours(process.stdout)
  let left = command.limit
  try {
    for await (const change of changes) {
      const line = command.json ? jsonLine(change) : textLine(change, colours)
      if (!process.stdout.write(`${line}\n`)) await drained(ended.signal)
      if (--left <= 0) break
    }
  } catch (error) {
    // Null is the reason of those who wanted an end.
    if (error !== null) throw error
  } finally {
    await streamer.stop()
  }
}

/** Runs a command line, and sets the exit code. @param {string[]} argv */
async function main(argv) {
  try {
    const parsed = parse(argv)
    if (parsed.values.help) return console.log(HELP)
    if (parsed.values.version) return console.log(version)
    if (parsed.positionals[0] === 'sqlite') return uninstall(parsed)
    await tail(readCommand(parsed))
  } catch (error) {
    const isUsage = error instanceof UsageError
    say(isUsage ? `ultimate-streaming: ${error.message} See --help.` : sentence(error))
    const { code } = /** @type {{ code?: string }} */ (error)
    const isWrong =
      isUsage || code === 'ERR_STREAMER_CONFIG_INVALID' || code === 'ERR_STREAMER_ARGUMENT_INVALID'
    process.exitCode = isWrong ? 2 : 1
  }
}

module.exports = { main }
