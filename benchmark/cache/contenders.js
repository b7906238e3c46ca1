'use strict'

// Ways to read one row by its key. Each has `read(id)`, which resolves with the row, and `close()`.

const mysql = require('mysql2/promise')

const SQL = 'SELECT id, version, text FROM items WHERE id = ?'
const CONNECTIONS = 10
/** Room for every key. */
const ENTRIES = 200_000

/** Whoever has no pool of its own asks through this one. @param {string} url */
function pooled(url) {
  const pool = mysql.createPool({ uri: url, connectionLimit: CONNECTIONS })
  const load = async (/** @type {number} */ id) => /** @type {any} */ (await pool.execute(SQL, [id]))[0][0]
  return { load, end: () => pool.end() }
}

/** @typedef {{ read: (id: number) => Promise<any>, close: () => Promise<unknown> }} Reader */

/** @type {Record<string, (url: string, streamer: any, ttlMs: number) => Promise<Reader> | Reader>} */
const CONTENDERS = {
  'no cache': url => {
    const { load, end } = pooled(url)
    return { read: load, close: end }
  },
  'ultimate-streaming': (_, streamer) => ({
    read: async id => (await streamer.query(SQL, [id]))[0],
    close: async () => {},
  }),
  'lru-cache': (url, _, ttl) => {
    const { load, end } = pooled(url)
    const { LRUCache } = require('lru-cache')
    const cache = new LRUCache({ max: ENTRIES, ttl, fetchMethod: id => load(Number(id)) })
    return { read: id => cache.fetch(id), close: end }
  },
  cacheable: (url, _, ttl) => {
    const { load, end } = pooled(url)
    const { Cacheable } = require('cacheable')
    const cache = new Cacheable({ ttl })
    return { read: id => cache.getOrSet(String(id), () => load(id), { ttl }), close: end }
  },
  bentocache: async (url, _, ttl) => {
    const { load, end } = pooled(url)
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

module.exports = { CONTENDERS }
