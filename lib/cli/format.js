'use strict'

// How the command line shows changes and notices.

const { loadBson } = require('../documents')
const { JsonDifference } = require('../json')

/** @typedef {import('../../index.js').Change} Change */

const COLOURS = { dim: 2, bold: 1, red: 31, green: 32, yellow: 33, cyan: 36 }

/** @type {Record<string, keyof typeof COLOURS>} */
const OP_COLOURS = { insert: 'green', read: 'green', update: 'yellow', replace: 'yellow' }

/** Longest text of a value on a terminal. */
const MAX_SHOWN = 80

/** @param {string} text @param {keyof typeof COLOURS} colour @param {boolean} colours */
function paint(text, colour, colours) {
  return colours ? `\u001b[${COLOURS[colour]}m${text}\u001b[0m` : text
}

/** Text that can do nothing to a terminal: control characters as escapes. @param {string} text */
function harmless(text) {
  // eslint-disable-next-line no-control-regex -- they are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, character => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}

/** Whether a value is of a class of `bson`, or a regular expression. @param {object} value */
function isBson(value) {
  return value instanceof RegExp || (!Object.hasOwn(value, '_bsontype') && '_bsontype' in value)
}

/** A value as `JSON.stringify` can write it. @param {unknown} value @returns {unknown} */
function jsonValue(value) {
  if (typeof value === 'bigint') return String(value)
  if (value === null || typeof value !== 'object' || value instanceof Date) return value
  if (value instanceof Uint8Array) return { $binary: Buffer.from(value).toString('base64') }
  if (value instanceof JsonDifference) return { $difference: jsonValue(value.operations) }
  if (isBson(value)) return loadBson().EJSON.serialize(value)
  if (Array.isArray(value)) return value.map(jsonValue)
  const copy = Object.create(null)
  for (const key of Object.keys(value)) copy[key] = jsonValue(/** @type {any} */ (value)[key])
  // A member called toJSON would be called, were it a function; values of a database never are.
  return copy
}

/** A change as one line of JSON. @param {Change} change */
function jsonLine(change) {
  return JSON.stringify(jsonValue(change))
}

/** Whether a value of `bson` reads best as its own text. @param {unknown} value */
function isPlainText(value) {
  if (value === null || typeof value !== 'object' || !isBson(value)) return false
  return ['ObjectId', 'Decimal128', 'Long'].includes(/** @type {any} */ (value)._bsontype)
}

/** @param {unknown} value */
function shortValue(value) {
  let text
  if (value instanceof Uint8Array) text = `0x${Buffer.from(value.subarray(0, MAX_SHOWN / 2)).toString('hex')}`
  else if (value instanceof Date) text = Number.isNaN(value.getTime()) ? 'invalid date' : value.toISOString()
  else if (typeof value === 'bigint') text = String(value)
  else if (value instanceof RegExp || isPlainText(value)) text = harmless(String(value))
  else text = harmless(JSON.stringify(jsonValue(value)) ?? String(value))
  const isCut = text.length > MAX_SHOWN || (value instanceof Uint8Array && value.length > MAX_SHOWN / 2)
  return isCut ? `${text.slice(0, MAX_SHOWN)}…` : text
}

/** `id=1 name="x"` @param {Readonly<Record<string, unknown>>} row @param {readonly string[]} names @param {boolean} colours */
function fields(row, names, colours) {
  return names.map(name => `${paint(`${harmless(name)}=`, 'dim', colours)}${shortValue(row[name])}`).join(' ')
}

/** `b.c=5 -gone list[..2]` @param {import('../../index.js').UpdateDescription} update @param {boolean} colours */
function description({ updatedFields, removedFields, truncatedArrays }, colours) {
  return [
    fields(updatedFields, Object.keys(updatedFields), colours),
    ...removedFields.map(name => `-${harmless(name)}`),
    ...truncatedArrays.map(({ field, newSize }) => `${harmless(field)}[..${newSize}]`),
  ]
    .filter(text => text !== '')
    .join(' ')
}

/** What changed of a row. @param {Change} change @param {boolean} colours */
function body({ op, key, before, after, changed, renamedTo, update }, colours) {
  if (op === 'rename') return `to ${harmless(renamedTo ?? '')}`
  if (update) {
    const keyFields = key === null ? '' : `${fields(key, Object.keys(key), colours)}  `
    return `${keyFields}${description(update, colours)}`
  }
  if (op === 'update' && before !== null && after !== null && changed !== null) {
    const differences = changed
      .filter(name => Object.hasOwn(after, name))
      .map(name => {
        const was = Object.hasOwn(before, name) ? `${shortValue(before[name])} → ` : ''
        return `${paint(`${harmless(name)}=`, 'dim', colours)}${was}${shortValue(after[name])}`
      })
    const keyFields = key === null ? '' : `${fields(key, Object.keys(key), colours)}  `
    return `${keyFields}${differences.join(' ')}`
  }
  const row = after ?? before ?? key
  return row === null ? '' : fields(row, Object.keys(row), colours)
}

/** A change as a line for people. @param {Change} change @param {boolean} colours */
function textLine(change, colours) {
  const { op, database, table, timestamp } = change
  const time = Number.isFinite(timestamp) ? new Date(timestamp).toISOString().slice(11, 23) : '-'
  const name = paint(harmless(`${database}.${table}`), 'bold', colours)
  const line = `${paint(time, 'dim', colours)} ${paint(op.padEnd(8), OP_COLOURS[op] ?? 'red', colours)} ${name}  ${body(change, colours)}`
  return line.trimEnd()
}

/** How far a snapshot has come. @param {import('../../index.js').SnapshotProgress} progress */
function progressOf({ table, rows, estimatedRows, done, remaining }) {
  if (table === null) return 'snapshot: there is no table to read'
  if (!done && rows === 0) return `snapshot: ${table} is being read, ${remaining} left`
  const read = `snapshot: ${rows} rows of ${table}`
  if (done) return `${read}, all of it; ${remaining} left`
  return estimatedRows === null ? read : `${read}, of about ${estimatedRows}`
}

/** A notice as a line for people. @param {string} event @param {any} value @param {boolean} colours */
function notice(event, value, colours) {
  switch (event) {
    case 'ready':
      return paint(
        '# connected; every change that is committed from now on is shown (Ctrl-C stops)',
        'dim',
        colours
      )
    case 'schema':
      return paint(
        `# definition changed: ${harmless(value.statement ?? `${value.database}.${value.table ?? '*'}`)}`,
        'cyan',
        colours
      )
    case 'snapshot':
      return paint(`# ${harmless(progressOf(value))}`, 'dim', colours)
    case 'disconnect':
      return paint(
        `# no connection: ${harmless(value.error.message)} [${value.error.code}] Attempt ${value.attempt} in ${Math.round(value.retryInMs)} ms.`,
        'red',
        colours
      )
    case 'reconnect':
      return paint(`# connected again after ${Math.round(value.downMs)} ms`, 'green', colours)
    default: {
      const tables = value.tables === '*' ? 'all tables' : value.tables.join(', ')
      return paint(
        `# changes of ${harmless(tables)} may be missing (${value.reason}) from ${value.from} to ${value.to}`,
        'red',
        colours
      )
    }
  }
}

module.exports = { jsonLine, notice, textLine }
