'use strict'

// What the handler of `consume.js` was given.

const fs = require('node:fs')

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

module.exports = { handled }
