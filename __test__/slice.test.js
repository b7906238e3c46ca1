'use strict'

// How the time of a slice is shared between reading and listeners.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { Slice } = require('../lib/slice')

/** How many of the milliseconds of a slice are for reading, after many slices in which reading took its part as told. */
function readingAfter(listenersPerMs, slices = 100) {
  const slice = new Slice()
  for (let turn = 0; turn < slices; turn++) {
    const reading = slice.readUntil(0, 1)
    slice.learn(reading, reading * listenersPerMs)
  }
  return slice.readUntil(10, 11) - 10
}

test('reading ends in time for listeners to be done at the end of the slice', () => {
  for (const listeners of [0.1, 0.25, 1]) {
    const reading = readingAfter(listeners)
    assert.ok(
      Math.abs(reading * (1 + listeners) - 1) < 0.01,
      `${reading} ms for reading, ${listeners} times that for listeners`
    )
  }
})

test('listeners that do nothing leave reading the whole slice', () => {
  assert.ok(readingAfter(0) > 0.99)
})

test('listeners that take very long do not make batches tiny', () => {
  for (const listeners of [4, 1000]) assert.ok(Math.abs(readingAfter(listeners) - 0.5) < 0.001)
})

test('one slow slice changes little, and a clock that stood still changes nothing', () => {
  const slice = new Slice()
  slice.learn(0.5, 1000)
  assert.ok(slice.readUntil(0, 1) > 0.4)
  const before = slice.readUntil(0, 1)
  slice.learn(0, 0)
  assert.equal(slice.readUntil(0, 1), before)
})
