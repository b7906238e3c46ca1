'use strict'

// This library.

const { Streamer } = require('../..')
const { Meter } = require('../meter')

/** @param {{ url: string, tables: string[], from: string }} task */
const source = ({ url, tables, from }) => ({ url, tables, from })

/** Drains a log to the `batch` handler. @param {any} task */
async function drain(task) {
  const meter = new Meter(task.rows)
  const streamer = new Streamer({ source: source(task), ...task.options })
  streamer.on('batch', changes => {
    for (const change of changes) meter.row(change.after)
  })
  const report = await meter.done
  await streamer.stop()
  return report
}

/** Drains a log to the `change` handler. @param {any} task */
async function drainSingly(task) {
  const meter = new Meter(task.rows)
  const streamer = new Streamer({ source: source(task), ...task.options })
  streamer.on('change', change => meter.row(change.after))
  const report = await meter.done
  await streamer.stop()
  return report
}

module.exports = { drain, drainSingly }
