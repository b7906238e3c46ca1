'use strict'

// Only this repository needs this. Next.js leaves out of its bundles what stands under node_modules and is named in its configuration;
// here ultimate-streaming is a link to the repository's root, so this folder gets a copy of what would be installed.

const fs = require('node:fs')
const path = require('node:path')

const root = path.join(__dirname, '../..')
const copy = path.join(__dirname, 'node_modules/ultimate-streaming')
const { files } = require(path.join(root, 'package.json'))
fs.rmSync(copy, { recursive: true, force: true })
fs.mkdirSync(copy, { recursive: true })
const addons = fs.readdirSync(root).filter(name => name.endsWith('.node'))
for (const name of ['package.json', ...addons, ...files]) {
  fs.cpSync(path.join(root, name), path.join(copy, name), { recursive: true })
}
