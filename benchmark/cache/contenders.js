'use strict'

// Ways to read one row by its key. Each has `read(id)`, which resolves with the row, and `close()`.

/** Room for every key. */
const ENTRIES = 200_000

/** @typedef {{ read: (id: number) => Promise<any>, close: () => Promise<unknown> }} Reader */
/** @typedef {{ load: (id: number) => Promise<any>, end: () => Promise<unknown> }} Pool whoever has none of its own asks through it */

/** @type {Record<string, (pool: Pool, ttlMs: number) => Promise<Reader> | Reader>} */
const CONTENDERS = {
  'no cache': ({ load, end }) => ({ read: load, close: end }),
  'lru-cache': ({ load, end }, ttl) => {
    const { LRUCache } = require('lru-cache')
    const cache = new LRUCache({ max: ENTRIES, ttl, fetchMethod: id => load(Number(id)) })
    return { read: id => cache.fetch(id), close: end }
  },
  cacheable: ({ load, end }, ttl) => {
    const { Cacheable } = require('cacheable')
    const cache = new Cacheable({ ttl })
    return { read: id => cache.getOrSet(String(id), () => load(id), { ttl }), close: end }
  },
  bentocache: async ({ load, end }, ttl) => {
    const { BentoCache, bentostore } = await import('bentocache')
    const { memoryDriver } = await import('bentocache/drivers/memory')
    const store = bentostore().useL1Layer(memoryDriver({ maxItems: ENTRIES, serialize: false }))
    const cache = new BentoCache({ default: 'memory', stores: { memory: store } })
    return {
      read: id => cache.getOrSet({ key: String(id), ttl, factory: () => load(id) }),
      close: () => cache.disconnectAll().then(end),
    }
  },
}

/**
 * @param {string} name @param {import('./databases').Database} database @param {string} url @param {any} streamer
 * @param {number} ttlMs @returns {Promise<Reader>}
 */
async function contender(name, database, url, streamer, ttlMs) {
  if (name === 'ultimate-streaming') return { read: id => database.read(streamer, id), close: async () => {} }
  return CONTENDERS[name](await database.pooled(url), ttlMs)
}

module.exports = { contender }
