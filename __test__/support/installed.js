'use strict'

const fs = require('node:fs')
const path = require('node:path')

/** The version of a package that stands beside us, whether or not it exports its manifest. @param {string} name @returns {string} */
function installed(name) {
  const manifest = path.join(__dirname, '../../node_modules', name, 'package.json')
  return JSON.parse(fs.readFileSync(manifest, 'utf8')).version
}

module.exports = { installed }
