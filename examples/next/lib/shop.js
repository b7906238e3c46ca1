import { Streamer } from 'ultimate-streaming'
import shop from '../../common/shop.js'

// Hot reload evaluates this file again and again in one process, and routes may be bundled apart: what must be there once for the
// process hangs on globalThis.

async function begin() {
  const database = await shop.openShop()
  const streamer = new Streamer({ source: { url: shop.url, tables: ['orders'] } })
  await streamer.start()
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => streamer.stop().finally(() => database.destroy()))
  }
  return { database, streamer }
}

/** The process's only Streamer, and its database. */
export function open() {
  globalThis.ultimateStreamingExample ??= begin()
  return globalThis.ultimateStreamingExample
}
