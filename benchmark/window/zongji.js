'use strict'

// The same with `@vlasky/zongji`: it does not wait for a handler, so changes queue up before a slow one.

const { setTimeout: sleep } = require('node:timers/promises')

async function main() {
  const { default: ZongJi } = await import('@vlasky/zongji')
  const { url, slowMs } = JSON.parse(process.argv[2])
  const { hostname, port, username, password, pathname } = new URL(url)
  const zongji = new ZongJi({
    host: hostname,
    port: Number(port),
    user: username,
    password: decodeURIComponent(password),
  })
  let [rows, read] = [0, 0]
  /** @type {Promise<void>} */
  let last = Promise.resolve()
  zongji.on('binlog', event => {
    if (event.getEventName() !== 'writerows') return
    read += event.rows.length
    for (const row of event.rows) {
      if (slowMs === 0) rows++
      else {
        last = last.then(async () => {
          rows += Object.keys(row).length > 0 ? 1 : 0
          await sleep(slowMs)
        })
      }
    }
  })
  zongji.on('ready', () => process.send?.('ready'))
  process.on('message', () => process.send?.({ rows, read }))
  process.on('disconnect', () => process.exit())
  zongji.start({
    startAtEnd: true,
    includeEvents: ['tablemap', 'writerows'],
    includeSchema: { [pathname.slice(1)]: true },
  })
}

main()
