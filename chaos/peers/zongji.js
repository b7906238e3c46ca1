'use strict'

// `@vlasky/zongji` following a table `truth`, as its documentation shows it.

const { seen, told } = require('./report')

async function main() {
  const { default: ZongJi } = await import('@vlasky/zongji')
  const { hostname, port, username, password, pathname } = new URL(JSON.parse(process.argv[2]).url)
  const zongji = new ZongJi({
    host: hostname,
    port: Number(port),
    user: username,
    password: decodeURIComponent(password),
  })
  zongji.on('error', error => told(error.code ?? error.message))
  zongji.on('stopped', () => told('stopped'))
  zongji.on('binlog', event => {
    if (event.getEventName() !== 'writerows') return
    if (event.tableMap[event.tableId].tableName !== 'truth') return
    for (const row of event.rows) seen(row.n)
  })
  zongji.start({
    startAtEnd: true,
    includeEvents: ['tablemap', 'writerows', 'updaterows', 'deleterows'],
    includeSchema: { [pathname.slice(1)]: ['truth'] },
  })
}

main()
