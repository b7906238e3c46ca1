'use strict'

// Batches wait in the engine until their turn has come, and are then copied into memory that stands. So what waits is no garbage of
// JavaScript's, and a flood makes none: buffers of their own that wait are promoted by the garbage collector, and freed late.

/** Numbers in front of a batch that say how long its pieces are. */
const LENGTHS = 4

const NUMBER_BYTES = Float64Array.BYTES_PER_ELEMENT

/** A batch that is larger gets memory of its own: a giant leaves no giant behind. */
const STANDING_BYTES = 512 * 1024

/** What is allocated at first; most streams never need more. */
const FIRST_BYTES = 64 * 1024

class Intake {
  #fetch
  #standing = Buffer.alloc(0)

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
    const memory = this.#room(size)
    this.#fetch(sequence, memory)
    const { buffer } = memory
    const [numbers, text, wide, bytes] = new Float64Array(buffer, 0, LENGTHS)
    const textAt = (LENGTHS + numbers) * NUMBER_BYTES
    const wideAt = textAt + text
    const bytesAt = wideAt + wide
    return {
      numbers: new Float64Array(buffer, LENGTHS * NUMBER_BYTES, numbers),
      text: memory.subarray(textAt, wideAt),
      wide: memory.subarray(wideAt, bytesAt),
      bytes: memory.subarray(bytesAt, bytesAt + bytes),
      shapes,
      isLasting: memory !== this.#standing,
    }
  }

  /** @param {number} size */
  #room(size) {
    if (size > STANDING_BYTES) return Buffer.from(new ArrayBuffer(size))
    if (size > this.#standing.length) {
      let room = FIRST_BYTES
      while (room < size) room *= 2
      this.#standing = Buffer.from(new ArrayBuffer(room))
    }
    return this.#standing
  }
}

module.exports = { Intake }
