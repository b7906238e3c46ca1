'use strict'

// A server, and another one that replicates it by GTID.

const mysql = require('mysql2/promise')

const KINDS = {
  mysql: {
    args: id => [
      `--server-id=${id}`,
      '--gtid-mode=ON',
      '--enforce-gtid-consistency=ON',
      '--log-replica-updates=ON',
    ],
    follow: port => [
      `CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = ${port}, SOURCE_USER = 'copier',
       SOURCE_PASSWORD = 'copied', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1`,
      'START REPLICA',
    ],
    promote: ['STOP REPLICA', 'RESET REPLICA ALL'],
  },
  mariadb: {
    args: id => [`--server-id=${id}`, '--log-slave-updates=ON', '--gtid-strict-mode=ON'],
    follow: port => [
      `CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = ${port}, MASTER_USER = 'copier',
       MASTER_PASSWORD = 'copied', MASTER_USE_GTID = slave_pos`,
      'START SLAVE',
    ],
    promote: ['STOP SLAVE', 'RESET SLAVE ALL'],
  },
}

/** A connection as root. @param {any} server */
const root = server => mysql.createConnection({ uri: server.url })

/**
 * Two servers of a kind, with an empty database `shop`.
 * @param {import('./servers').Kit} kit
 * @param {'mysql' | 'mariadb'} kind
 * @param {number} id `server_id` of the first; the next is the second's
 */
async function replicated(kit, kind, id) {
  const { args, follow, promote } = KINDS[kind]
  const [first, second] = [await kit[kind]({ args: args(id) }), await kit[kind]({ args: args(id + 1) })]
  const [writer, replica] = [await root(first), await root(second)]
  for (const connection of [writer, replica]) connection.on('error', () => {})
  await writer.query("CREATE USER 'copier'@'%' IDENTIFIED BY 'copied'")
  await writer.query("GRANT REPLICATION SLAVE ON *.* TO 'copier'@'%'")
  for (const sql of follow(first.port)) await replica.query(sql)
  await writer.query('CREATE DATABASE shop')
  const { href, host } = new URL(`${first.url}/shop`)
  return {
    first,
    second,
    /** To the first. */
    writer,
    /** To the second. */
    replica,
    /** Both hosts. */
    url: href.replace(host, `127.0.0.1:${first.port},127.0.0.1:${second.port}`),
    /** The second replicates no more. */
    async promote() {
      for (const sql of promote) await replica.query(sql)
    },
    async end() {
      for (const connection of [writer, replica]) connection.destroy()
      for (const server of [second, first]) await server.remove()
    },
  }
}

module.exports = { replicated, root }
