'use strict'

// MySQL and MariaDB: faults that this library and `@vlasky/zongji` go through.

const mysql = require('mysql2/promise')
const { setTimeout: sleep } = require('node:timers/promises')
const { installed } = require('../../__test__/support/installed')
const { version } = require('../../package.json')

/** @param {any} kit @param {'mysql' | 'mariadb'} kind */
async function sqlSide(kit, kind) {
  const server = await kit[kind]({ args: ['--binlog-row-metadata=FULL', '--sync-binlog=1'] })
  const proxy = await kit.proxy(server)
  const root = () => mysql.createConnection({ uri: server.url, connectTimeout: 2000 })
  const setUp = await root()
  await setUp.query('CREATE DATABASE shop')
  await setUp.query('CREATE TABLE shop.truth (n INT PRIMARY KEY)')
  await setUp.end()
  /** @type {any} */
  let connection = null
  /** A server that is frozen answers nobody. @param {string} sql @param {unknown[]} [values] */
  const query = async (sql, values) => {
    try {
      if (connection === null) {
        connection = await root()
        connection.on('error', () => {})
      }
      return await connection.query({ sql, values, timeout: 2000 })
    } catch (error) {
      connection?.destroy()
      connection = null
      throw error
    }
  }
  const url = `${proxy.url}/shop`
  const held = fault => async () => {
    await proxy.fault(fault)
    await sleep(30_000)
    await proxy.fault({ kind: 'heal' })
  }
  return {
    title: `${kind === 'mysql' ? 'MySQL' : 'MariaDB'} ${server.version}`,
    write: n => query('INSERT IGNORE INTO shop.truth VALUES (?)', [n]),
    contenders: [
      { name: `ultimate-streaming ${version}`, script: 'ours.js', argument: { url } },
      { name: `@vlasky/zongji ${installed('@vlasky/zongji')}`, script: 'zongji.js', argument: { url } },
    ],
    faults: [
      {
        name: 'dump thread killed (`KILL`)',
        async inject() {
          const [dumps] = await query(
            "SELECT ID AS id FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'"
          )
          for (const { id } of dumps) await query('KILL ?', [id])
        },
      },
      { name: 'connections reset', inject: () => proxy.fault({ kind: 'cut', once: true }) },
      { name: 'half-open link for 30 s', inject: held({ kind: 'blackhole' }) },
      {
        name: 'server killed (`kill -9`) and started again',
        async inject() {
          await server.kill()
          await server.restart()
        },
      },
      {
        name: 'server frozen (`SIGSTOP`) for 10 s',
        async inject() {
          await server.pause()
          await sleep(10_000)
          await server.resume()
        },
      },
      {
        name: 'table altered',
        async inject() {
          await query('ALTER TABLE shop.truth ADD COLUMN extra INT DEFAULT 7 FIRST')
          await query('ALTER TABLE shop.truth DROP COLUMN extra')
        },
      },
    ],
    async close() {
      await connection?.end()
      await server.remove()
    },
  }
}

module.exports = { sqlSide }
