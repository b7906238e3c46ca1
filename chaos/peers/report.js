'use strict'

// How a process that follows `truth` says what it sees: a line each.

/** A row has come; one that has no number is no row of the writer. @param {unknown} n */
const seen = n => {
  if (typeof n === 'number') console.log(`seen ${n}`)
}
/** The application was told that something is wrong. @param {string} what */
const told = what => console.log(`told ${String(what).replaceAll('\n', ' ').slice(0, 120)}`)

module.exports = { seen, told }
