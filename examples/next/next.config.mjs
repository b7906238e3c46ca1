import path from 'node:path'

/** @type {import('next').NextConfig} */
export default {
  // The addon and the database's driver are required as they are, not bundled.
  serverExternalPackages: ['ultimate-streaming', 'knex', 'libsql', 'mysql2'],
  // This folder's packages stand in the folder above, and ultimate-streaming is a link to the one above that.
  outputFileTracingRoot: path.join(import.meta.dirname, '../..'),
  turbopack: { root: path.join(import.meta.dirname, '../..') },
}
