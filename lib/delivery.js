'use strict'

// From the engine's items to listeners, loops and consumers, in order, without holding the event loop.
//
// Items wait in a queue that the engine bounds: it sends no more than its window holds until items are acknowledged. They are
// worked off in slices of a few milliseconds; an item that finds the queue empty is delivered at once. An item is acknowledged
// when every listener has returned, every loop of `changes()` has asked for more, and every consumer's promise for it has
// resolved. Listeners and loops have one part of a batch at a time; consumers gather one batch of theirs while they handle another.
//
// While the streamer is being stopped nobody is waited for: whoever stops a streamer inside its loop would wait for itself. With
// checkpoints, what loops and consumers have not done by then is not acknowledged, and comes again at the next start. In the same
// way nothing is acknowledged when the only receiver of changes goes away in the middle: what it left is given to the next one.

const { Changes } = require('./changes')
const { Consumer } = require('./consumer')
const { BatchReader, Shapes } = require('./decode')
const { dispatch } = require('./dispatch')

/** @typedef {import('./consumer').Part} Part */
/** @typedef {import('./decode').Change} Change */
/** @typedef {import('./shape').Integers} Integers */
/** @typedef {{ kind: number, sequence: number, source: string, payload: any }} Item */
/**
 * @typedef {object} Options
 * @property {number} batchSize
 * @property {Map<string, Integers>} integers
 * @property {boolean} isKept positions outlive the process
 * @property {(sequence: number) => void} acknowledge
 * @property {(source: string, position: string) => void} progress
 * @property {(json: string) => boolean} onNotice returns false where a listener threw
 * @property {(error: unknown) => void} onDefect called with what makes reading on impossible
 */

const KIND_BATCH = 0

/** Longest time that one turn of the event loop spends here, as long as listeners are quick themselves. */
const SLICE_MS = 2

/** Events of one change. */
const OPERATION_EVENTS = new Set(['insert', 'update', 'replace', 'delete'])

/** Worked-off items that the queue may hold before it is cut. */
const MAX_WORKED_OFF = 1024

/** How often a loop's progress is told while it is inside a part. */
const PROGRESS_MS = 50

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
  #partBytes = 0
  #next = 0
  #isDone = false
  #isRunning = false
  #isScheduled = false
  #isFlushing = false
  #isClosed = false
  /** @type {Set<Changes>} */
  #loops = new Set()
  /** @type {Set<Consumer>} */
  #consumers = new Set()
  /** Parts that consumers have, oldest first. @type {Part[]} */
  #open = []
  /** Parts of a consumer that went away; done together with what is being delivered. @type {Part[]} */
  #inherited = []
  /** The present part is to be given out: it is new, or was left over. */
  #isFresh = false
  /** The only receiver went away in the middle. */
  #isAbandoned = false
  /** What is delivered from here on is not acknowledged. */
  #isSealed = false
  #toldAt = 0
  /** An acknowledgement that has not been told yet; 0: none. */
  #due = 0

  /** @param {import('./dispatch').SteadyEmitter} emitter @param {Options} options */
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
        this.#abandon(ended, Changes.leftover(ended))
        this.#schedule()
      }
    )
    if (!this.#isClosed) this.#loops.add(loop)
    return loop
  }

  /**
   * A consumer that takes part from the next part of a batch on.
   * @param {unknown} handler @param {unknown} options
   * @param {{ fail: (error: any) => void, warn: (fields: object, message: string) => void }} hooks
   */
  openConsumer(handler, options, hooks) {
    const consumer = new Consumer(handler, options, {
      ...hooks,
      wake: () => this.#schedule(),
      settle: () => this.#settle(),
    })
    if (!this.#isClosed) this.#consumers.add(consumer)
    this.#schedule()
    return consumer
  }

  /** Resolves when the batch that a consumer has in hand is done. @param {Consumer} consumer */
  async closeConsumer(consumer) {
    await consumer.seal()
    if (!this.#consumers.delete(consumer) || this.#isFlushing) return
    const { changes, parts } = consumer.leftover()
    if (this.#hasReceivers()) {
      // The others were given them as well.
      for (const part of parts) part.pending--
      this.#settle()
    } else {
      this.#inherited.push(...parts)
      this.#leave(changes)
    }
    this.#schedule()
  }

  /** Somebody may have begun to listen. */
  wake() {
    this.#schedule()
  }

  #hasReceivers() {
    if (this.#loops.size > 0 || this.#consumers.size > 0) return true
    return this.#emitter.listenerCount('batch') > 0 || this.#hasListenersForOne()
  }

  /** Whether somebody listens to what comes between changes, and so wants to come past them. */
  #hasOtherListeners() {
    return this.#emitter.listenerCount('schema') > 0 || this.#emitter.listenerCount('gap') > 0
  }

  /** A loop went away: where nobody else had what it leaves, that waits. @param {Changes} loop @param {Change[]} left */
  #abandon(loop, left) {
    const done = Changes.done(loop)
    if (!this.#options.isKept || this.#isFlushing || this.#hasReceivers()) return
    if (done !== null) this.#progress(done)
    this.#leave(left)
  }

  /** What somebody left is given to whoever comes next; until then nothing is delivered. @param {Change[]} changes */
  #leave(changes) {
    this.#isAbandoned = true
    if (changes.length === 0) return
    this.#part = [...changes, ...this.#part.slice(this.#next)]
    this.#next = 0
    this.#isFresh = true
    this.#isDone = false
  }

  /** Takes an item in. @param {Item} item */
  receive(item) {
    if (this.#isClosed) return
    this.#queue.push(item)
    if (this.#isRunning || this.#isScheduled) return
    this.#run()
    // What else arrives in this turn of the event loop waits for the end of it: the addon hands over all that it has at once.
    this.#rest()
  }

  #rest() {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      if (this.#head < this.#queue.length) this.#run()
    })
  }

  /**
   * Delivers what has been read without waiting for loops and consumers. Resolves when no consumer has a batch in hand.
   */
  async flush() {
    this.#isFlushing = true
    this.#tellProgress(true)
    this.#isSealed =
      this.#options.isKept && (this.#isAbandoned || this.#loops.size + this.#consumers.size > 0)
    this.#schedule()
    await Promise.all([...this.#consumers].map(consumer => consumer.seal()))
  }

  /** Delivers nothing more. */
  close() {
    this.#isClosed = true
    this.#queue = []
    this.#head = 0
  }

  #schedule() {
    if (!this.#isRunning && this.#head < this.#queue.length) this.#rest()
  }

  /** Whether a loop or a consumer still has to take what it was given. */
  #isHeldBack() {
    if (this.#isFlushing) return false
    if (this.#isAbandoned || this.#options.isKept) {
      if (!this.#hasReceivers() && (this.#isAbandoned || !this.#hasOtherListeners())) return true
      this.#isAbandoned = false
    }
    for (const loop of this.#loops) {
      if (!Changes.wantsMore(loop)) {
        this.#tellProgress(false)
        return true
      }
    }
    for (const consumer of this.#consumers) if (!consumer.wantsMore) return true
    return false
  }

  /** Tells how far the only receiver, a loop, has come inside a part. @param {boolean} isLast */
  #tellProgress(isLast) {
    if (!this.#options.isKept || this.#loops.size !== 1 || this.#consumers.size > 0 || this.#open.length > 0)
      return
    const now = performance.now()
    if (!isLast && now - this.#toldAt < PROGRESS_MS) return
    const [loop] = this.#loops
    const done = Changes.done(loop)
    if (done === null) return
    this.#toldAt = now
    this.#progress(done)
  }

  /** What was left by a consumer has been delivered to others. */
  #release() {
    if (this.#inherited.length === 0) return
    for (const part of this.#inherited.splice(0)) part.pending--
    this.#settle()
  }

  /** Acknowledges what consumers are done with. */
  #settle() {
    while (this.#open.length > 0 && this.#open[0].pending === 0) {
      const part = /** @type {Part} */ (this.#open.shift())
      if (part.sequence > 0) this.#acknowledge(part.sequence)
      else if (this.#options.isKept) this.#progress(part)
    }
  }

  /** Everything up to an item is done. Acknowledgements are cumulative: a slice tells its last one. @param {number} sequence */
  #acknowledge(sequence) {
    this.#due = sequence
    if (!this.#isRunning) this.#tellDone()
  }

  #tellDone() {
    if (this.#due === 0) return
    const sequence = this.#due
    this.#due = 0
    this.#options.acknowledge(sequence)
  }

  /** A source is done with a part of an item. @param {{ source: string, position: string }} part */
  #progress({ source, position }) {
    this.#tellDone()
    this.#options.progress(source, position)
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
    this.#tellDone()
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
    this.#release()
    if (this.#isSealed) return
    const newest = this.#open.at(-1)
    // Acknowledgements are cumulative: this one is due when what consumers have is done.
    if (newest === undefined) {
      this.#acknowledge(sequence)
    } else {
      newest.sequence = sequence
      this.#settle()
    }
  }

  /** Goes on with an item. Returns false where a listener threw. @param {Item} item @param {number} deadline */
  #deliver(item, deadline) {
    if (item.kind !== KIND_BATCH) {
      this.#isDone = true
      return this.#options.onNotice(item.payload)
    }
    let isClean = true
    if (this.#next === this.#part.length) {
      this.#release()
      try {
        this.#readPart(item, deadline)
      } catch (error) {
        // It is not acknowledged, and nothing behind it is delivered.
        this.close()
        this.#options.onDefect(error)
        return true
      }
    }
    if (this.#isFresh) isClean = this.#giveOut(item)
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

  /** Gives the present part to everybody who takes parts. Returns false where a listener threw. @param {Item} item */
  #giveOut(item) {
    this.#isFresh = false
    for (const loop of this.#loops) if (!this.#isSealed) Changes.give(loop, this.#part)
    if (this.#consumers.size > 0 && this.#part.length > 0 && !this.#isSealed) {
      const { position } = this.#part[this.#part.length - 1]
      const part = { source: item.source, position, sequence: 0, pending: 0 }
      this.#open.push(part)
      for (const consumer of this.#consumers) consumer.give(this.#part, part, this.#partBytes)
    }
    const isClean = this.#part.length === 0 || dispatch(this.#emitter, 'batch', this.#part)
    if (!this.#hasListenersForOne()) this.#next = this.#part.length
    return isClean
  }

  /** @param {Item} item @param {number} deadline */
  #readPart(item, deadline) {
    const integers = this.#options.integers.get(item.source) ?? 'bigint'
    this.#reader ??= new BatchReader(item.source, item.payload, this.#shapes, integers)
    this.#part = /** @type {Change[]} */ ([])
    this.#next = 0
    const before = this.#reader.bytesRead
    let limit = this.#options.batchSize
    // A consumer's batches are what it makes progress by.
    for (const consumer of this.#consumers) limit = Math.min(limit, consumer.batchSize)
    this.#part = this.#reader.next(limit, deadline)
    this.#partBytes = this.#reader.bytesRead - before
    this.#isFresh = true
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
