'use strict'

// A disk for checkpoints that can be full: a small file system of its own where the system lets us mount one (Linux, root), else a
// plain folder, which cannot.

const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')

class Disk {
  #isMounted

  /** @param {string} folder */
  constructor(folder) {
    this.folder = folder
    this.filler = path.join(folder, 'filler')
    fs.mkdirSync(folder)
    const options = ['-t', 'tmpfs', '-o', 'size=1m,mode=0700', 'tmpfs', folder]
    this.#isMounted = process.platform === 'linux' && spawnSync('mount', options).status === 0
  }

  /** Fills it; returns whether it is full. */
  fill() {
    if (!this.#isMounted) return false
    const file = fs.openSync(this.filler, 'w')
    try {
      for (;;) fs.writeSync(file, Buffer.alloc(4096))
    } catch (error) {
      if (error.code !== 'ENOSPC') throw error
      return true
    } finally {
      fs.closeSync(file)
    }
  }

  empty() {
    fs.rmSync(this.filler, { force: true })
  }

  close() {
    if (this.#isMounted) spawnSync('umount', ['-l', this.folder])
  }
}

module.exports = { Disk }
