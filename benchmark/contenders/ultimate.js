'use strict'

// This library.

const { Streamer } = require('../..')
const { Meter } = require('../meter')
const { Sightings } = require('../sightings')

/** @param {any} task */
const open = ({ url, tables, from, log, options }) =>
  new Streamer({ source: { url, tables, from, ...(log && { log }) }, ...options })

/** The same task in the oplog of MongoDB. @param {any} task */
const inOplog = task => ({ ...task, log: 'oplog', from: task.fromOplog })

/**
 * Drains a log to a handler.
 * @param {'batch' | 'change'} event @param {any} task @param {'row' | 'values'} how
 */
async function drainTo(event, task, how = 'row') {
  const meter = new Meter(task.rows)
  const streamer = open(task)
  if (event === 'batch') {
    streamer.on('batch', changes => {
      for (const change of changes) meter[how](change.after)
    })
  } else streamer.on('change', change => meter[how](change.after))
  const report = await meter.done
  await streamer.stop()
  return report
}

/**
 * Drains a long log to a handler; what the process holds after each million rows, and the most that it ever held.
 * @param {any} task
 */
async function drainFar(task) {
  const meter = new Meter(task.rows)
  const streamer = open(task)
  /** @type {number[]} */
  const held = []
  let rows = 0
  streamer.on('batch', changes => {
    for (const change of changes) {
      if (++rows % 1_000_000 === 0) held.push(process.memoryUsage.rss())
      meter.row(change.after)
    }
  })
  const report = await meter.done
  await streamer.stop()
  return { ...report, held }
}

/** Drains the same log with several streamers at once. @param {any} task */
async function drainMany(task) {
  const meter = new Meter(task.rows * task.streamers)
  const streamers = Array.from({ length: task.streamers }, () => open(task))
  for (const streamer of streamers) {
    streamer.on('batch', changes => {
      for (const change of changes) meter.row(change.after)
    })
  }
  const report = await meter.done
  for (const streamer of streamers) await streamer.stop()
  return report
}

/** When each of the rows that are written meanwhile was seen. @param {any} task */
async function follow(task) {
  const sightings = new Sightings(task)
  const streamer = open({ ...task, from: undefined })
  streamer.on('change', change => sightings.see(change.after.id))
  await streamer.start()
  const report = await sightings.report()
  await streamer.stop()
  return report
}

/**
 * Follows what is written and does nothing with it, for a time; resolves with what the process holds then. Without a URL it follows
 * nothing.
 * @param {any} task
 */
async function idle(task) {
  let rows = 0
  const streamer = open({ ...task, from: undefined })
  streamer.on('change', () => rows++)
  await streamer.start()
  process.send?.({ ready: true })
  await new Promise(resolve => setTimeout(resolve, task.ms))
  const report = { rows, rss: process.memoryUsage.rss() }
  await streamer.stop()
  return report
}

module.exports = {
  /** @param {any} task */
  drain: task => drainTo('batch', task),
  /** @param {any} task */
  drainOplog: task => drainTo('batch', inOplog(task)),
  /** @param {any} task */
  followOplog: task => follow(inOplog(task)),
  /** @param {any} task */
  drainSingly: task => drainTo('change', task),
  /** @param {any} task */
  drainValues: task => drainTo('batch', task, 'values'),
  drainFar,
  drainMany,
  follow,
  idle,
}
