'use strict'

// Tables of figures: the middle of several runs and the whole spread.

/** @param {number[]} list */
function spread(list) {
  const sorted = [...list].sort((a, b) => a - b)
  const half = sorted.length >> 1
  const median = sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
  return { low: sorted[0], median, high: sorted[sorted.length - 1] }
}

/** @param {number[]} list */
const median = list => spread(list).median

/** A number that people can read: three figures, thousands apart. @param {number} value */
function plain(value) {
  const size = Math.abs(value)
  if (size >= 1000) return Math.round(Number(value.toPrecision(3))).toLocaleString('en-US')
  if (size >= 100) return value.toFixed(0)
  return value.toFixed(size >= 10 ? 1 : 2)
}

/** The median and, in brackets, lowest and highest. @param {number[]} list @param {(value: number) => string} [print] */
function withSpread(list, print = plain) {
  const { low, median, high } = spread(list)
  return `${print(median)} (${print(low)}–${print(high)})`
}

/** A Markdown table, aligned so that it reads well as text too. @param {string[]} head @param {string[][]} rows */
function table(head, rows) {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map(row => row[column].length)))
  const line = cells => `| ${cells.map((cell, column) => pad(cell, widths[column], column)).join(' | ')} |`
  const rule = `|${widths.map((width, column) => (column === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`
  return [line(head), rule, ...rows.map(line)].join('\n')
}

/** @param {string} cell @param {number} width @param {number} column */
const pad = (cell, width, column) => (column === 0 ? cell.padEnd(width) : cell.padStart(width))

module.exports = { median, plain, spread, table, withSpread }
