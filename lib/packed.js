'use strict'

// Memory into which the engine writes, and the pieces of a batch, or of an answer, that lie there one after the other: four numbers
// that say how long they are, then numbers, text, wide text and bytes.

/** Numbers in front of the pieces. */
const LENGTHS = 4

const NUMBER_BYTES = Float64Array.BYTES_PER_ELEMENT

/** What is larger gets memory of its own: a giant leaves no giant behind. */
const STANDING_BYTES = 512 * 1024

/** What is allocated at first; most streams never need more. */
const FIRST_BYTES = 64 * 1024

/** Memory that is used again and again. */
class StandingMemory {
  /** All of it, as bytes. */
  bytes = Buffer.alloc(0)
  /** The same as numbers. */
  numbers = new Float64Array(0)

  /** Room for this many bytes: the standing memory, grown where that is needed, or, for a giant, memory of its own. @param {number} size */
  room(size) {
    if (size > STANDING_BYTES) return Buffer.from(new ArrayBuffer(size))
    if (size > this.bytes.length) {
      let room = FIRST_BYTES
      while (room < size) room *= 2
      const memory = new ArrayBuffer(room)
      this.bytes = Buffer.from(memory)
      this.numbers = new Float64Array(memory)
    }
    return this.bytes
  }

  /** Memory as numbers; it must begin where numbers may. @param {Buffer} memory */
  numbersOf(memory) {
    if (memory === this.bytes) return this.numbers
    return new Float64Array(memory.buffer, memory.byteOffset, Math.floor(memory.length / NUMBER_BYTES))
  }
}

/**
 * The pieces beside the numbers, which stand behind their lengths.
 * @param {Buffer} memory @param {Float64Array} numbers the same memory @param {number} at where the lengths stand in it
 */
function piecesOf(memory, numbers, at) {
  const textAt = (at + LENGTHS + numbers[at]) * NUMBER_BYTES
  const wideAt = textAt + numbers[at + 1]
  const bytesAt = wideAt + numbers[at + 2]
  return {
    text: cut(memory, textAt, wideAt),
    wide: cut(memory, wideAt, bytesAt),
    bytes: cut(memory, bytesAt, bytesAt + numbers[at + 3]),
  }
}

/** @param {Buffer} memory @param {number} begin @param {number} end */
const cut = (memory, begin, end) => (begin === end ? undefined : memory.subarray(begin, end))

/**
 * A copy in memory of its own. Not out of Buffer's pool: what is made of it may be a view, and cloning that copies all that it is a view of.
 * @param {Uint8Array} bytes
 */
const ownCopy = bytes => Buffer.from(new Uint8Array(bytes).buffer)

module.exports = { LENGTHS, StandingMemory, ownCopy, piecesOf }
