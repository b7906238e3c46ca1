'use strict'

// Bar charts as SVG, without a library: groups of bars with their median, and a line from the lowest to the highest run.

const { plain, spread } = require('./table')

const WIDTH = 860
const LABEL = 250
const BAR = 20
const GAP = 6
const ROOM = 110

/** Readable on white and on black. */
const COLORS = { ours: '#2f81f7', peer: '#8b949e', limit: '#6e7781' }

/** @param {string} text */
const escaped = text => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;')

/** @param {string} name */
function colorOf(name) {
  if (name.startsWith('ultimate')) return COLORS.ours
  return /alone|limit/.test(name) ? COLORS.limit : COLORS.peer
}

/**
 * @param {string} title
 * @param {{ title: string, bars: { name: string, values: number[] }[] }[]} groups
 */
function chart(title, groups) {
  /** @type {string[]} */
  const parts = []
  let y = 34
  for (const group of groups) {
    const most = Math.max(...group.bars.flatMap(bar => bar.values))
    const scale = (/** @type {number} */ value) => (value / most) * (WIDTH - LABEL - ROOM)
    y += 16
    parts.push(`<text x="0" y="${y}" class="group">${escaped(group.title)}</text>`)
    y += 10
    for (const { name, values } of group.bars) {
      const { low, median, high } = spread(values)
      const middle = y + BAR / 2
      parts.push(
        `<text x="${LABEL - 8}" y="${middle + 4}" text-anchor="end">${escaped(name)}</text>`,
        `<rect x="${LABEL}" y="${y}" width="${scale(median).toFixed(1)}" height="${BAR}" fill="${colorOf(name)}"/>`,
        `<path d="M${(LABEL + scale(low)).toFixed(1)} ${middle}H${(LABEL + scale(high)).toFixed(1)}" class="spread"/>`,
        `<text x="${(LABEL + scale(high) + 8).toFixed(1)}" y="${middle + 4}">${plain(median)}</text>`
      )
      y += BAR + GAP
    }
    y += 8
  }
  const style =
    'text{font:12px system-ui,sans-serif;fill:#57606a}.title{font-size:15px;font-weight:600}.group{font-weight:600}' +
    '.spread{stroke:#d29922;stroke-width:3;fill:none}' +
    '@media(prefers-color-scheme:dark){text{fill:#c9d1d9}}'
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y}" viewBox="0 0 ${WIDTH} ${y}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<style>${style}</style>`,
    `<text x="0" y="18" class="title">${escaped(title)}</text>`,
    ...parts,
    '</svg>\n',
  ].join('\n')
}

module.exports = { chart }
