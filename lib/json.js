'use strict'

// JSON columns. The engine writes what JSON cannot hold as strings that begin with NUL: `\u0000i<digits>` is an integer outside
// the safe range, `\u0000s<rest>` is a string that begins with NUL itself. Only cells that are marked so are searched for them.

/**
 * A partial update of a JSON column whose base the log does not hold (`binlog_row_value_options = PARTIAL_JSON` together with a
 * row image that leaves the old document out): the steps, in order, and not the document.
 */
class JsonDifference {
  /** @param {readonly { op: string, path: string, value?: unknown }[]} operations */
  constructor(operations) {
    this.operations = operations
  }
}

/** @param {string} text */
function special(text) {
  if (text.charCodeAt(0) !== 0) return text
  return text[1] === 'i' ? BigInt(text.slice(2)) : text.slice(2)
}

/**
 * Puts the real values in the place of the special strings. With a stack of its own: a document may be nested deeper than calls can.
 * @param {any} root
 * @returns {unknown}
 */
function revive(root) {
  if (typeof root === 'string') return special(root)
  if (root === null || typeof root !== 'object') return root
  const open = [root]
  for (let holder = open.pop(); holder !== undefined; holder = open.pop()) {
    for (const key of Object.keys(holder)) {
      // Own members all, also `__proto__`: JSON.parse makes nothing else.
      const value = holder[key]
      if (typeof value === 'string') {
        if (value.charCodeAt(0) === 0) holder[key] = special(value)
      } else if (value !== null && typeof value === 'object') {
        open.push(value)
      }
    }
  }
  return root
}

/**
 * A JSON cell. MariaDB lets a session switch its JSON check off; what is no JSON then arrives as the text that it is.
 * @param {string} text
 */
function parseJson(text) {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** A JSON cell that holds special strings. @param {string} text */
function parseSpecialJson(text) {
  return revive(parseJson(text))
}

/** @param {string} text */
function parseDifference(text) {
  const operations = JSON.parse(text)
  return new JsonDifference(text.includes('\\u0000') ? /** @type {any} */ (revive(operations)) : operations)
}

module.exports = { JsonDifference, parseDifference, parseJson, parseSpecialJson }
