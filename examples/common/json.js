'use strict'

/** JSON of rows and changes. A bigint, which JSON.stringify refuses, becomes text: a number would lose digits. */
function toJson(value) {
  return JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? part.toString() : part))
}

module.exports = { toJson }
