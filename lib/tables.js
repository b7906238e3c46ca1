'use strict'

// Patterns for tables, as `changes()` takes them: the same as the option `tables` (see
// `crates/streamer-core/src/config/filter.rs`). `database.table`, where `*` and `?` match and backquotes hold a name as it is; a
// leading `!` excludes. A pattern without a dot means the table in any database.

const { argumentInvalid } = require('./errors')

/** `name`, or everything up to the dot. */
const PART = /^(?:`((?:[^`]|``)+)`|([^.`]+))(?:\.|$)/

/**
 * Whether a pattern with `*` and `?` matches. Goes back to the last `*` only, so that no pattern takes exponential time.
 * @param {string} pattern @param {string} name
 */
function matchesWild(pattern, name) {
  const wanted = Array.from(pattern)
  const given = Array.from(name)
  let p = 0
  let star = -1
  let resume = 0
  for (let n = 0; n < given.length;) {
    if (p < wanted.length && wanted[p] === '*') {
      star = p++
      resume = n
    } else if (p < wanted.length && (wanted[p] === '?' || wanted[p] === given[n])) {
      p++
      n++
    } else if (star >= 0) {
      p = star + 1
      n = ++resume
    } else {
      return false
    }
  }
  while (wanted[p] === '*') p++
  return p === wanted.length
}

/** @typedef {(name: string) => boolean} Matcher */

/** @param {RegExpExecArray} part @returns {Matcher} */
function partMatcher([, quoted, bare]) {
  if (quoted !== undefined) {
    const exact = quoted.replaceAll('``', '`')
    return name => name === exact
  }
  return /[*?]/.test(bare) ? name => matchesWild(bare, name) : name => name === bare
}

/** @param {string} text @returns {(database: string, table: string) => boolean} */
function patternMatcher(text) {
  const first = PART.exec(text)
  const rest = first === null ? '' : text.slice(first[0].length)
  const hasDot = first !== null && first[0].endsWith('.')
  const second = hasDot ? PART.exec(rest) : null
  if (
    first === null ||
    (hasDot ? second === null || second[0] !== rest || rest.endsWith('.') : rest !== '')
  ) {
    throw argumentInvalid(
      `tables: expected patterns such as "database.table", found ${JSON.stringify(text)}.`
    )
  }
  if (second === null) {
    const table = partMatcher(first)
    return (_, name) => table(name)
  }
  const database = partMatcher(first)
  const table = partMatcher(second)
  return (databaseName, tableName) => database(databaseName) && table(tableName)
}

/**
 * Whether a change's table is wanted. Where no pattern includes, all tables are.
 * @param {readonly string[]} patterns
 * @returns {(database: string, table: string) => boolean}
 */
function tableMatcher(patterns) {
  const included = patterns.filter(text => !text.startsWith('!')).map(patternMatcher)
  const excluded = patterns.filter(text => text.startsWith('!')).map(text => patternMatcher(text.slice(1)))
  /** @type {Map<string, Map<string, boolean>>} */
  const answers = new Map()
  return (database, table) => {
    let tables = answers.get(database)
    if (tables === undefined) answers.set(database, (tables = new Map()))
    let answer = tables.get(table)
    if (answer === undefined) {
      const isIncluded = included.length === 0 || included.some(matches => matches(database, table))
      answer = isIncluded && !excluded.some(matches => matches(database, table))
      tables.set(table, answer)
    }
    return answer
  }
}

module.exports = { tableMatcher }
