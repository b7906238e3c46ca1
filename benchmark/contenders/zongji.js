'use strict'

// `@vlasky/zongji`, and, as it has the same interface, `@powersync/mysql-zongji`.

const { Meter } = require('../meter')
const { Sightings } = require('../sightings')

/** @param {(task: any) => Promise<any> | any} load resolves with the class */
function contender(load) {
  /** Opens it; `onRow` gets every row of the tables that were asked for. @param {any} task @param {(row: any) => void} onRow */
  async function open(task, onRow) {
    const ZongJi = await load()
    const { hostname, port, pathname } = new URL(task.url)
    const zongji = new ZongJi({ host: hostname, port: Number(port), user: 'root', password: '' })
    zongji.on('error', (/** @type {unknown} */ error) => {
      console.error(error)
      process.exit(1)
    })
    zongji.on('binlog', (/** @type {any} */ event) => {
      const { rows } = event
      if (rows !== undefined) for (const row of rows) onRow(row)
    })
    const ready = new Promise(resolve => zongji.once('ready', resolve))
    zongji.start({
      serverId: 4242,
      ...(task.at === undefined
        ? { startAtEnd: true }
        : { filename: task.at.file, position: task.at.offset }),
      includeEvents: ['tablemap', 'writerows', 'updaterows', 'deleterows'],
      includeSchema: { [pathname.slice(1)]: task.tables },
    })
    return { zongji, ready }
  }

  return {
    /** When each of the rows that are written meanwhile was seen. @param {any} task */
    async follow(task) {
      const sightings = new Sightings(task)
      const { zongji, ready } = await open({ ...task, at: undefined }, row => sightings.see(row.id))
      await ready
      const report = await sightings.report()
      zongji.stop()
      return report
    },
    /** @param {any} task */
    async drain(task) {
      const meter = new Meter(task.rows)
      const { zongji } = await open(task, row => meter.row(row))
      const report = await meter.done
      zongji.stop()
      return report
    },
  }
}

module.exports = { ...contender(async () => (await import('@vlasky/zongji')).default), contender }
