'use strict'

// From the engine's items to listeners, loops and consumers, in order, without holding the event loop.
//
// Items wait in a queue that the engine bounds: it sends no more than its window holds until items are acknowledged. They are
// worked off in slices of half a millisecond; an item that finds the queue empty is delivered at once. An item is acknowledged
// when every listener has returned, every loop of `changes()` has asked for more, and every consumer's promise for it has
// resolved. Listeners and loops have one part of a batch at a time; consumers gather one batch of theirs while they handle another.
//
// While the streamer is being stopped nobody is waited for: whoever stops a streamer inside its loop would wait for itself. With
// checkpoints, what loops and consumers have not done by then is not acknowledged, and comes again at the next start. In the same
// way nothing is acknowledged that a consumer has left undone, or a loop that was the only receiver: it waits for a successor, and
// until one has taken it every acknowledgement behind it waits as well.

const { Changes } = require('./changes')
const { Consumer } = require('./consumer')
const { BatchReader, Shapes } = require('./decode')
const { dispatch, revisionOf } = require('./dispatch')
const { Intake } = require('./intake')
const { Slice } = require('./slice')

/** @typedef {import('./consumer').Part} Part */
/** @typedef {import('./decode').Change} Change */
/** @typedef {import('./shape').Integers} Integers */
/** @typedef {{ kind: number, sequence: number, source: string, payload: any }} Item */
/**
 * What is being given out: to `takers` and, from `next` on, one by one to listeners.
 * @typedef {object} Given
 * @property {Change[]} changes
 * @property {number} next
 * @property {Part | null} part what of it is pending, where anything is
 * @property {boolean} isLegacy it keeps its part pending itself
 * @property {Set<Changes | Consumer>} takers
 * @property {boolean} isHeard listeners were there
 */
/**
 * What one receiver left undone, in the order of the log; each piece keeps its part pending. For any receiver, where nobody else
 * was given it, else for a consumer.
 * @typedef {{ part: Part, changes: Change[] }} Piece
 * @typedef {{ pieces: Piece[], isForAny: boolean }} Legacy
 */
/**
 * @typedef {object} Options
 * @property {number} batchSize
 * @property {Map<string, Integers>} integers
 * @property {boolean} isKept positions outlive the process
 * @property {(sequence: number, into: Buffer) => void} fetch
 * @property {(sequence: number) => void} acknowledge
 * @property {(source: string, position: string) => void} progress
 * @property {(json: string) => boolean} onNotice returns false where a listener threw
 * @property {(error: unknown) => void} onDefect called with what makes reading on impossible
 * @property {(fields: object, message: string) => void} warn
 */

const KIND_BATCH = 0

/** Longest time that one turn of the event loop spends here, as long as listeners are quick themselves. */
const SLICE_MS = 0.5

/** Events of one change. */
const OPERATION_EVENTS = new Set(['insert', 'update', 'replace', 'delete', 'read'])

/** Worked-off items that the queue may hold before it is cut. */
const MAX_WORKED_OFF = 1024

/** What a step came to: nothing to do, all well, or a listener threw. */
const [IDLE, CLEAN, UNCLEAN] = [0, 1, 2]

/** How often a loop's progress is told while it is inside a part. */
const PROGRESS_MS = 50

/** Whether somebody has a change that was given out. @param {Given} given @param {Change} change */
function isTaken({ takers }, change) {
  for (const taker of takers) {
    if (taker instanceof Changes ? Changes.wants(taker, change) : taker.wants(change)) return true
  }
  return false
}

class Delivery {
  #emitter
  #options
  #shapes = new Shapes()
  #intake
  /** @type {Item[]} */
  #queue = []
  #head = 0
  /** The item at the head, as far as it has been read. @type {BatchReader | null} */
  #reader = null
  #slice = new Slice()
  /** @type {Given | null} */
  #given = null
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
  /** What receivers left, oldest first. @type {Legacy[]} */
  #legacies = []
  /** The only receiver went away in the middle: nothing is delivered until somebody comes. */
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
    this.#intake = new Intake(options.fetch)
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
    if (!this.#isClosed) {
      this.#consumers.add(consumer)
      this.#inherit(consumer)
    }
    this.#schedule()
    return consumer
  }

  /**
   * Takes nothing more into a consumer; resolves when it is done with what it was given, or has failed once more.
   * @param {Consumer} consumer
   */
  async closeConsumer(consumer) {
    await consumer.drain()
    if (!this.#consumers.delete(consumer) || this.#isFlushing) return
    const pieces = consumer.leftover()
    const isForAny = !this.#hasReceivers()
    if (isForAny) this.#isAbandoned = true
    if (pieces.length > 0) {
      if (!this.#options.isKept && !isForAny) this.#detach(pieces)
      this.#legacies.push({ pieces, isForAny })
      const changes = pieces.reduce((sum, piece) => sum + piece.changes.length, 0)
      this.#options.warn(
        { changes },
        'A consumer was stopped before its handler had succeeded: what it leaves waits for the next consume(), or comes again at the next start.'
      )
    }
    this.#schedule()
  }

  /** Without checkpoints, what waits for a successor need not hold up what others are done with. @param {Piece[]} pieces */
  #detach(pieces) {
    for (const piece of pieces) {
      piece.part.pending--
      piece.part = { ...piece.part, pending: 1 }
    }
    this.#settle()
  }

  /** Gives a new consumer what the first consumer that wanted the same has left. @param {Consumer} consumer */
  #inherit(consumer) {
    for (const legacy of this.#legacies) {
      let isTaken = false
      for (const piece of legacy.pieces) {
        const rest = piece.changes.filter(change => !consumer.wants(change))
        if (rest.length === piece.changes.length) continue
        isTaken = true
        consumer.give(piece.changes, piece.part, 0)
        piece.changes = rest
        if (rest.length === 0) piece.part.pending--
      }
      if (!isTaken) continue
      this.#forget(legacy)
      return
    }
  }

  /** Removes what has been taken. @param {Legacy} legacy */
  #forget(legacy) {
    legacy.pieces = legacy.pieces.filter(({ changes }) => changes.length > 0)
    if (legacy.pieces.length === 0) this.#legacies.splice(this.#legacies.indexOf(legacy), 1)
  }

  /** The next of what the only receiver left, as far as loops and listeners want it. @returns {Piece | null} */
  #nextOfLegacies() {
    if (this.#legacies.length === 0 || this.#isSealed) return null
    const isForAll = this.#hasListeners()
    for (const legacy of this.#legacies) {
      if (!legacy.isForAny) continue
      for (const piece of legacy.pieces) {
        const { part } = piece
        const isWanted = (/** @type {Change} */ change) =>
          isForAll || this.loops.some(loop => Changes.wants(loop, change))
        const changes = piece.changes.filter(isWanted)
        if (changes.length === 0) continue
        const taken = new Set(changes)
        piece.changes = piece.changes.filter(change => !taken.has(change))
        if (piece.changes.length > 0) part.pending++
        this.#forget(legacy)
        return { part, changes }
      }
    }
    return null
  }

  /** Somebody may have begun to listen. */
  wake() {
    this.#schedule()
  }

  #hasReceivers() {
    return this.#loops.size > 0 || this.#consumers.size > 0 || this.#hasListeners()
  }

  #hasListeners() {
    return this.#emitter.listenerCount('batch') > 0 || this.#hasListenersForOne()
  }

  /** Whether somebody listens to what comes between changes, and so wants to come past them. */
  #hasOtherListeners() {
    return this.#emitter.listenerCount('schema') > 0 || this.#emitter.listenerCount('gap') > 0
  }

  /** A loop went away: what it leaves and nobody else was given waits. @param {Changes} loop @param {Change[]} left */
  #abandon(loop, left) {
    if (!this.#options.isKept || this.#isFlushing) return
    const given = this.#given
    if (!this.#hasReceivers()) {
      this.#isAbandoned = true
      const done = Changes.done(loop)
      if (done !== null && this.#open.length === 0) this.#progress(done)
    }
    if (given === null) return
    given.takers.delete(loop)
    if (!given.isHeard)
      this.#bequeath(
        given,
        left.filter(change => !isTaken(given, change))
      )
  }

  /** Keeps what was given out, and nobody else has, for whoever comes. @param {Given} given @param {Change[]} changes */
  #bequeath(given, changes) {
    if (changes.length === 0) return
    if (given.part === null) {
      const { source, position } = given.changes[given.changes.length - 1]
      given.part = { source, position, sequence: 0, pending: 0 }
      this.#open.push(given.part)
    }
    given.part.pending++
    this.#legacies.push({ pieces: [{ part: given.part, changes }], isForAny: true })
    // Those who came after it was given out.
    for (const consumer of this.#consumers) {
      if (!given.takers.has(consumer) && !consumer.isSealed) this.#inherit(consumer)
    }
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
      if (this.#hasWork()) this.#run()
    })
  }

  #hasWork() {
    return (
      this.#head < this.#queue.length ||
      this.#given !== null ||
      this.#legacies.some(legacy => legacy.isForAny)
    )
  }

  /**
   * Delivers what has been read without waiting for loops and consumers. Resolves when no consumer has a batch in hand.
   */
  async flush() {
    this.#isFlushing = true
    this.#tellProgress(true)
    this.#isSealed =
      this.#options.isKept &&
      (this.#isAbandoned || this.#legacies.length + this.#loops.size + this.#consumers.size > 0)
    this.#schedule()
    await Promise.all([...this.#consumers].map(consumer => consumer.seal()))
  }

  /** Delivers nothing more. */
  close() {
    this.#isClosed = true
    this.#queue = []
    this.#head = 0
    this.#given = null
    this.#legacies = []
  }

  #schedule() {
    if (!this.#isRunning && this.#hasWork()) this.#rest()
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
    let state = CLEAN
    while (state === CLEAN && !this.#isHeldBack()) {
      state = this.#step(deadline)
      if (performance.now() >= deadline) break
    }
    this.#tellDone()
    this.#isRunning = false
    // What arrived while the acknowledgement was told has found us running.
    const isIdle = state === IDLE && this.#head >= this.#queue.length
    // What a listener threw surfaces before the next change is delivered; a loop that holds us back wakes us itself.
    if (!isIdle && !this.#isHeldBack()) this.#schedule()
  }

  /** Goes on a little. @param {number} deadline */
  #step(deadline) {
    if (this.#given !== null) {
      if (this.#given.next < this.#given.changes.length) return this.#deliver(this.#given, deadline)
      this.#finishGiven(this.#given)
      return CLEAN
    }
    const piece = this.#nextOfLegacies()
    if (piece !== null) return this.#giveOut(piece.changes, 0, piece.part, deadline)
    if (this.#head >= this.#queue.length) return IDLE
    const item = this.#queue[this.#head]
    if (item.kind !== KIND_BATCH) {
      const isClean = this.#options.onNotice(item.payload)
      this.#finishItem(item)
      return isClean ? CLEAN : UNCLEAN
    }
    const begun = performance.now()
    let part
    try {
      part = this.#read(item, this.#slice.readUntil(begun, deadline))
    } catch (error) {
      // It is not acknowledged, and nothing behind it is delivered.
      this.close()
      this.#options.onDefect(error)
      return IDLE
    }
    const read = performance.now()
    const state = this.#giveOut(part.changes, part.bytes, null, deadline)
    this.#slice.learn(read - begun, performance.now() - read)
    return state
  }

  /** Everybody has, and every loop is done with, what was given out. @param {Given} given */
  #finishGiven({ part, isLegacy }) {
    // Nothing of it is kept alive while the stream is idle.
    this.#given = null
    if (part !== null && isLegacy && !this.#isSealed) {
      part.pending--
      this.#settle()
    }
    if (this.#reader?.isDone) this.#finishItem(this.#queue[this.#head])
  }

  /** @param {Item} item */
  #finishItem({ sequence }) {
    // A listener may have closed us.
    if (this.#isClosed) return
    this.#head++
    this.#reader = null
    if (this.#head === this.#queue.length || this.#head > MAX_WORKED_OFF) {
      this.#queue.splice(0, this.#head)
      this.#head = 0
    }
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

  /** Gives changes to everybody. @param {Change[]} changes @param {number} bytes @param {Part | null} legacy @param {number} deadline */
  #giveOut(changes, bytes, legacy, deadline) {
    const given = {
      changes,
      next: 0,
      part: legacy,
      isLegacy: legacy !== null,
      takers: /** @type {Given['takers']} */ (new Set()),
      isHeard: this.#hasListeners(),
    }
    this.#given = given
    if (!this.#isSealed) {
      for (const loop of this.#loops) {
        Changes.give(loop, changes)
        given.takers.add(loop)
      }
      // What others left them, consumers have taken before.
      if (legacy === null && changes.length > 0) this.#giveToConsumers(given, bytes)
    }
    const isForOne = this.#hasListenersForOne()
    if (changes.length > 0 && this.#emitter.listenerCount('batch') > 0) {
      // A listener may do with its array what it likes.
      const isClean = dispatch(this.#emitter, 'batch', changes.slice())
      if (!isForOne) given.next = changes.length
      if (!isClean) return UNCLEAN
    }
    if (!isForOne) given.next = changes.length
    return this.#deliver(given, deadline)
  }

  /** @param {Given} given @param {number} bytes */
  #giveToConsumers(given, bytes) {
    if (this.#consumers.size === 0) return
    const { source, position } = given.changes[given.changes.length - 1]
    given.part = { source, position, sequence: 0, pending: 0 }
    this.#open.push(given.part)
    for (const consumer of this.#consumers) {
      consumer.give(given.changes, given.part, bytes)
      given.takers.add(consumer)
    }
  }

  /** Goes on with what is given out one by one. @param {Given} given @param {number} deadline */
  #deliver(given, deadline) {
    const revision = revisionOf(this.#emitter)
    let isClean = true
    while (isClean && given.next < given.changes.length) {
      isClean = this.#deliverOne(given.changes[given.next++])
      if (performance.now() >= deadline || revisionOf(this.#emitter) !== revision) break
    }
    if (given.next < given.changes.length && this.#given === given && !this.#hasListenersForOne()) {
      // The last listener went away in the middle.
      const rest = given.changes.slice(given.next)
      given.next = given.changes.length
      if (this.#options.isKept && !this.#isFlushing && this.#emitter.listenerCount('batch') === 0) {
        if (!this.#hasReceivers()) this.#isAbandoned = true
        this.#bequeath(
          given,
          rest.filter(change => !isTaken(given, change))
        )
      }
    }
    return isClean ? CLEAN : UNCLEAN
  }

  /** @param {Item} item @param {number} deadline */
  #read({ sequence, source, payload }, deadline) {
    if (this.#reader === null) {
      const integers = this.#options.integers.get(source) ?? 'bigint'
      const batch = this.#intake.take(sequence, payload)
      this.#reader = new BatchReader(source, batch, this.#shapes, integers)
    }
    const before = this.#reader.bytesRead
    let limit = this.#options.batchSize
    // A consumer's batches are what it makes progress by.
    for (const consumer of this.#consumers) limit = Math.min(limit, consumer.batchSize)
    const changes = this.#reader.next(limit, deadline)
    return { changes, bytes: this.#reader.bytesRead - before }
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
