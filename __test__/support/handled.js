'use strict'

// What the handler of `consume.js` was given.

const fs = require('node:fs')

/** So many bytes are the newest ones. */
const TAIL = 1 << 20
const BEGINNING = '{"id":"'

/**
 * Every change, in order. A process that is killed may leave a part of a line, which its handler had not finished; the next process
 * writes behind it.
 * @param {string} file
 * @returns {any[]}
 */
function handled(file) {
  const text = fs.readFileSync(file, 'utf8')
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter(line => line.includes(BEGINNING))
    .map(line => JSON.parse(line.slice(line.lastIndexOf(BEGINNING))))
}

/** Whether something of which a line consists has been written lately. @param {string} file @param {string} text */
function hasHandled(file, text) {
  const { size } = fs.statSync(file)
  const length = Math.min(size, TAIL)
  const tail = Buffer.alloc(length)
  const descriptor = fs.openSync(file, 'r')
  fs.readSync(descriptor, tail, 0, length, size - length)
  fs.closeSync(descriptor)
  return tail.includes(text)
}

module.exports = { handled, hasHandled }
