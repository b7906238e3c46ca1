'use strict'

// From the engine's items to listeners and loops, in order, without holding the event loop.
//
// Items wait in a queue that the engine bounds: it sends no more than its window holds until items are acknowledged. They are
// worked off in slices of a few milliseconds; an item that finds the queue empty is delivered at once. An item is acknowledged
// when every listener has returned and every loop of `changes()` has asked for more; until then the next one is not decoded, so
// that decoded changes of one part at most wait in memory. While the streamer is being stopped, loops are not waited for:
// whoever stops a streamer inside its loop would wait for itself. What is given to them then waits in them.

const { Changes } = require('./changes')
const { BatchReader, Shapes } = require('./decode')
const { dispatch } = require('./dispatch')

/** @typedef {import('./decode').Change} Change */
/** @typedef {import('./shape').Integers} Integers */
/** @typedef {{ kind: number, sequence: number, source: string, payload: any }} Item */

const KIND_BATCH = 0

/** Longest time that one turn of the event loop spends here, as long as listeners are quick themselves. */
const SLICE_MS = 4

/** Events of one change. */
const OPERATION_EVENTS = new Set(['insert', 'update', 'replace', 'delete'])

/** Worked-off items that the queue may hold before it is cut. */
const MAX_WORKED_OFF = 1024

class Delivery {
  #emitter
  #options
  #shapes = new Shapes()
  /** @type {Item[]} */
  #queue = []
  #head = 0
  // The item at the head, as far as it has been read.
  /** @type {BatchReader | null} */
  #reader = null
  /** @type {Change[]} */
  #part = []
  #next = 0
  #isDone = false
  #isRunning = false
  #isScheduled = false
  #isFlushing = false
  #isClosed = false
  /** @type {Set<Changes>} */
  #loops = new Set()

  /**
   * @param {import('./dispatch').SteadyEmitter} emitter
   * @param {{ batchSize: number, integers: Map<string, Integers>, acknowledge: (sequence: number) => void,
   *   onNotice: (json: string) => boolean, onDefect: (error: unknown) => void }} options
   *   `onNotice` returns false where a listener threw; `onDefect` is called with what makes reading on impossible.
   */
  constructor(emitter, options) {
    this.#emitter = emitter
    this.#options = options
  }

  get loops() {
    return [...this.#loops]
  }

  /** A loop that takes part from the next part of a batch on. @param {unknown} options */
  openLoop(options) {
    const loop = new Changes(
      options,
      () => this.#schedule(),
      ended => {
        this.#loops.delete(ended)
        this.#schedule()
      }
    )
    if (!this.#isClosed) this.#loops.add(loop)
    return loop
  }

  /** Takes an item in. @param {Item} item */
  receive(item) {
    if (this.#isClosed) return
    this.#queue.push(item)
    if (!this.#isRunning && !this.#isScheduled) this.#run()
  }

  /** Delivers what has been read without waiting for loops. */
  flush() {
    this.#isFlushing = true
    this.#schedule()
  }

  /** Delivers nothing more. */
  close() {
    this.#isClosed = true
    this.#queue = []
    this.#head = 0
  }

  #schedule() {
    if (this.#isScheduled || this.#isRunning || this.#head >= this.#queue.length) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      this.#run()
    })
  }

  /** Whether a loop still has to take what it was given. */
  #isHeldBack() {
    if (this.#isFlushing) return false
    for (const loop of this.#loops) if (!Changes.wantsMore(loop)) return true
    return false
  }

  #run() {
    const deadline = performance.now() + SLICE_MS
    this.#isRunning = true
    let isClean = true
    while (isClean && this.#head < this.#queue.length && !this.#isHeldBack()) {
      if (this.#isDone) this.#finish()
      else {
        isClean = this.#deliver(this.#queue[this.#head], deadline)
        if (performance.now() >= deadline) isClean = false
      }
    }
    this.#isRunning = false
    // What a listener threw surfaces before the next change is delivered; a loop that holds us back wakes us itself.
    if (!this.#isHeldBack()) this.#schedule()
  }

  #finish() {
    const { sequence } = this.#queue[this.#head]
    this.#head++
    this.#isDone = false
    this.#reader = null
    if (this.#head === this.#queue.length || this.#head > MAX_WORKED_OFF) {
      this.#queue.splice(0, this.#head)
      this.#head = 0
    }
    this.#options.acknowledge(sequence)
  }

  /** Goes on with an item. Returns false where a listener threw. @param {Item} item @param {number} deadline */
  #deliver(item, deadline) {
    if (item.kind !== KIND_BATCH) {
      this.#isDone = true
      return this.#options.onNotice(item.payload)
    }
    let isClean = true
    if (this.#next === this.#part.length) {
      try {
        this.#readPart(item, deadline)
      } catch (error) {
        // It is not acknowledged, and nothing behind it is delivered.
        this.close()
        this.#options.onDefect(error)
        return true
      }
      for (const loop of this.#loops) Changes.give(loop, this.#part)
      if (this.#part.length > 0) isClean = dispatch(this.#emitter, 'batch', this.#part)
      if (!this.#hasListenersForOne()) this.#next = this.#part.length
    }
    while (isClean && this.#next < this.#part.length) {
      isClean = this.#deliverOne(this.#part[this.#next++])
      if (performance.now() >= deadline) break
    }
    if (this.#next === this.#part.length && (this.#reader === null || this.#reader.isDone)) {
      this.#isDone = true
      // Nothing of it is kept alive while the stream is idle.
      this.#part = []
      this.#next = 0
    }
    return isClean
  }

  /** @param {Item} item @param {number} deadline */
  #readPart(item, deadline) {
    const integers = this.#options.integers.get(item.source) ?? 'bigint'
    this.#reader ??= new BatchReader(item.source, item.payload, this.#shapes, integers)
    this.#part = /** @type {Change[]} */ ([])
    this.#next = 0
    this.#part = this.#reader.next(this.#options.batchSize, deadline)
  }

  #hasListenersForOne() {
    const emitter = this.#emitter
    if (emitter.listenerCount('change') > 0) return true
    for (const event of OPERATION_EVENTS) if (emitter.listenerCount(event) > 0) return true
    return false
  }

  /** @param {Change} change */
  #deliverOne(change) {
    const isClean = dispatch(this.#emitter, 'change', change)
    if (!OPERATION_EVENTS.has(change.op)) return isClean
    return dispatch(this.#emitter, change.op, change) && isClean
  }
}

module.exports = { Delivery }
