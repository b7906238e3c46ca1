'use strict'

// The faults, each with how it is injected and ended. A fault that injects nothing proves nothing: each says what it did.

const fs = require('node:fs')
const path = require('node:path')
const { setTimeout: sleep } = require('node:timers/promises')

/**
 * @typedef {object} World
 * @property {any} side the database's own part, `Sql` or `Mongo`
 * @property {import('../__test__/support/servers').Server} redis
 * @property {import('../__test__/support/servers').Proxy[]} proxies of the living reader, and of the mortal ones
 * @property {any} rng
 * @property {(work: (connection: any) => Promise<any>) => Promise<any>} ask
 * @property {import('./mortal').Mortal} mortal keeps its checkpoint in a directory
 * @property {import('./mortal').Mortal[]} mortals that one, and one that keeps it in Redis
 * @property {import('./disk').Disk} disk where the directory is
 * @property {() => Promise<void>} level resolves when every reader has seen what was committed before
 */
/** @typedef {{ name: string, sides?: string[], inject: (world: World) => Promise<number>, disturbs: boolean }} Fault */

/** Applies a proxy's fault for a while; returns how many bytes or connections it touched. */
async function throughProxies({ proxies, rng }, fault, least, most) {
  const before = await Promise.all(proxies.map(proxy => proxy.counters()))
  await Promise.all(proxies.map(proxy => proxy.fault(fault)))
  await sleep(least + rng.below(most - least))
  await Promise.all(proxies.map(proxy => proxy.fault({ kind: 'heal' })))
  const after = await Promise.all(proxies.map(proxy => proxy.counters()))
  const total = counters =>
    counters.resets + counters.refused + counters.held + counters.drips + counters.throttled
  return after.reduce((sum, counters, index) => sum + total(counters) - total(before[index]), 0)
}

/** @type {Fault[]} */
const FAULTS = [
  {
    name: 'server killed (SIGKILL) and started again',
    disturbs: true,
    async inject({ side, rng }) {
      const { server } = side
      await server.kill()
      await sleep(100 + rng.below(4000))
      await server.restart()
      return 1
    },
  },
  {
    name: 'server frozen (SIGSTOP)',
    disturbs: true,
    async inject({ side, rng }) {
      const { server } = side
      await server.pause()
      await sleep(1000 + rng.below(9000))
      await server.resume()
      return 1
    },
  },
  {
    name: 'half-open link',
    sides: ['mysql', 'mariadb'],
    disturbs: true,
    // Longer than the heartbeat timeout: what a shorter one swallows no network gives back either.
    inject: world => throughProxies(world, { kind: 'blackhole' }, 4000, 8000),
  },
  {
    name: 'half-open towards the reader',
    sides: ['mysql', 'mariadb'],
    disturbs: true,
    inject: world => throughProxies(world, { kind: 'blackhole', direction: 'toClient' }, 4000, 8000),
  },
  {
    name: 'slow link',
    sides: ['mysql', 'mariadb'],
    disturbs: false,
    inject: world => throughProxies(world, { kind: 'throttle', bytes: 20_000 }, 1000, 4000),
  },
  {
    name: 'one byte at a time',
    sides: ['mysql', 'mariadb'],
    disturbs: false,
    inject: world => throughProxies(world, { kind: 'drip' }, 500, 3000),
  },
  {
    name: 'reset in the middle of a packet',
    sides: ['mysql', 'mariadb'],
    disturbs: true,
    inject: world =>
      throughProxies(world, { kind: 'resetAfter', bytes: 1 + world.rng.below(20_000) }, 1000, 3000),
  },
  {
    name: 'connections cut',
    sides: ['mysql', 'mariadb'],
    disturbs: true,
    inject: world => throughProxies(world, { kind: 'cut', once: true }, 10, 100),
  },
  {
    name: 'dump or cursor killed by an operator',
    disturbs: true,
    inject: ({ side, ask }) => ask(connection => side.killReaders(connection)),
  },
  {
    name: 'DDL storm',
    disturbs: false,
    async inject({ side, ask }) {
      await ask(connection => side.storm(connection))
      return 1
    },
  },
  {
    name: 'log rotated',
    disturbs: false,
    sides: ['mysql', 'mariadb'],
    async inject({ side, ask }) {
      await ask(connection => side.rotate(connection))
      return 1
    },
  },
  {
    name: 'consuming process killed (SIGKILL)',
    disturbs: false,
    async inject({ mortals, rng }) {
      for (let kill = 0; kill < 2; kill++) {
        await sleep(rng.below(700))
        await Promise.all(mortals.map(mortal => mortal.kill()))
      }
      return 2 * mortals.length
    },
  },
  {
    name: 'failing consumer stopped and replaced',
    disturbs: false,
    async inject({ mortals, rng }) {
      for (let turn = 0; turn < 2; turn++) {
        await sleep(rng.below(500))
        await Promise.all(mortals.map(mortal => mortal.replace()))
      }
      return 2 * mortals.length
    },
  },
  {
    name: 'logs purged behind the readers',
    disturbs: false,
    sides: ['mysql', 'mariadb'],
    async inject({ side, ask, level }) {
      await ask(connection => side.rotate(connection))
      await level()
      return ask(connection => side.purge(connection))
    },
  },
  {
    name: 'failover to a replica by GTID',
    disturbs: true,
    sides: ['mysql', 'mariadb'],
    async inject({ side, ask, proxies }) {
      if (side.replica === null) return 0
      await ask(connection => side.failOver(connection, proxies))
      return 1
    },
  },
  {
    name: 'disk of the checkpoint full',
    disturbs: false,
    async inject({ disk, rng }) {
      const isFull = disk.fill()
      await sleep(500 + rng.below(1500))
      disk.empty()
      return isFull ? 1 : 0
    },
  },
  {
    name: 'Redis frozen',
    disturbs: false,
    async inject({ redis, rng }) {
      await redis.pause()
      await sleep(500 + rng.below(4000))
      await redis.resume()
      return 1
    },
  },
  {
    name: 'Redis killed and started again',
    disturbs: false,
    async inject({ redis, rng }) {
      await redis.kill()
      await sleep(rng.below(2000))
      await redis.restart()
      return 1
    },
  },
  {
    name: 'checkpoint cannot be written',
    disturbs: false,
    async inject({ mortal, rng }) {
      const aside = `${mortal.checkpoint}-aside`
      // A process that begins meanwhile would find no checkpoint, and make a new one.
      await mortal.ready()
      fs.renameSync(mortal.checkpoint, aside)
      await sleep(500 + rng.below(1500))
      fs.renameSync(aside, mortal.checkpoint)
      return 1
    },
  },
  {
    name: 'checkpoint damaged',
    disturbs: false,
    async inject({ mortal }) {
      await mortal.end()
      const file = path.join(mortal.checkpoint, 'default.checkpoint')
      const good = fs.readFileSync(file)
      const bad = Buffer.from(good)
      bad[Math.floor(bad.length / 2)] ^= 1
      fs.writeFileSync(file, bad)
      await mortal.isRefused('ERR_STREAMER_CHECKPOINT_INVALID')
      fs.writeFileSync(file, good)
      mortal.begin()
      return 1
    },
  },
  {
    name: 'primary steps down',
    disturbs: true,
    sides: ['mongodb'],
    inject: ({ side, ask }) => ask(connection => side.stepDown(connection)),
  },
]

/** The faults that a source can have. @param {string} source */
function faultsOf(source) {
  return FAULTS.filter(({ sides }) => sides === undefined || sides.includes(source))
}

module.exports = { faultsOf }
