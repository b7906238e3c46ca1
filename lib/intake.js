'use strict'

// Batches wait in the engine until their turn has come, and are then copied into memory that stands. So what waits is no garbage of
// JavaScript's, and a flood makes none: buffers of their own that wait are promoted by the garbage collector, and freed late.

const { LENGTHS, StandingMemory, piecesOf } = require('./packed')

class Intake {
  #fetch
  #standing = new StandingMemory()

  /** @param {(sequence: number, into: Buffer) => void} fetch the engine's */
  constructor(fetch) {
    this.#fetch = fetch
  }

  /**
   * The batch `sequence`, which was announced with its size and new shapes. Valid until the next one is taken, if it is not lasting.
   * @param {number} sequence @param {{ size: number, shapes?: string }} head
   * @returns {import('./decode').BatchPayload}
   */
  take(sequence, { size, shapes }) {
    const memory = this.#standing.room(size)
    this.#fetch(sequence, memory)
    const numbers = this.#standing.numbersOf(memory)
    const { text, wide, bytes } = piecesOf(memory, numbers, 0)
    const isLasting = memory !== this.#standing.bytes
    return { numbers: numbers.subarray(LENGTHS, LENGTHS + numbers[0]), text, wide, bytes, shapes, isLasting }
  }
}

module.exports = { Intake }
