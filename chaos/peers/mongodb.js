'use strict'

// MongoDB: faults that this library and the `mongodb` driver's change stream go through.

const { MongoClient } = require('mongodb')
const { setTimeout: sleep } = require('node:timers/promises')
const { installed } = require('../../__test__/support/installed')
const { urlOf } = require('../../__test__/support/mongodb')
const { version } = require('../../package.json')

const IMAGES = { fullDocument: 'updateLookup', fullDocumentBeforeChange: 'whenAvailable' }
const LARGE = 10 << 20

/** @param {any} kit */
async function mongodbSide(kit) {
  const server = await kit.mongodb({ members: 3 })
  const client = await new MongoClient(server.url, {
    writeConcern: { w: 'majority' },
    serverSelectionTimeoutMS: 2000,
  }).connect()
  const truth = () => client.db('shop').collection('truth')
  await client.db('shop').createCollection('truth', { changeStreamPreAndPostImages: { enabled: true } })
  const url = urlOf(server.url, 'shop')
  const names = [`ultimate-streaming ${version}`, `mongodb ${installed('mongodb')} \`watch()\``]
  return {
    title: `MongoDB ${server.version}, three members, both images`,
    async write(n) {
      await truth().updateOne({ _id: n }, { $setOnInsert: { n } }, { upsert: true, maxTimeMS: 2000 })
    },
    contenders: [
      { name: names[0], script: 'ours.js', argument: { url, options: { ...IMAGES, tables: ['truth'] } } },
      { name: names[1], script: 'watch.js', argument: { url, watch: IMAGES } },
    ],
    faults: [
      { name: 'cursors killed (`killCursors`)', inject: () => killCursors(client) },
      {
        name: 'primary steps down',
        async inject() {
          const command = { replSetStepDown: 10, secondaryCatchUpPeriodSecs: 5, force: true }
          await client
            .db('admin')
            .command(command)
            .catch(() => {})
        },
      },
      {
        name: 'every member killed (`kill -9`) and started again',
        async inject() {
          await server.kill()
          await server.restart()
        },
      },
      {
        name: 'every member frozen (`SIGSTOP`) for 10 s',
        async inject() {
          await server.pause()
          await sleep(10_000)
          await server.resume()
        },
      },
      {
        name: 'a document of 10 MB updated, with both images (an event over 16 MB)',
        async inject() {
          const large = client.db('shop').collection('truth')
          await large.insertOne({ _id: /** @type {any} */ ('large'), text: 'x'.repeat(LARGE) })
          await large.updateOne({ _id: /** @type {any} */ ('large') }, { $set: { text: 'y'.repeat(LARGE) } })
        },
      },
      {
        name: 'watched collection dropped and created again',
        async inject() {
          await client.db('shop').dropCollection('truth')
          // The writer creates it anew as well.
          await client
            .db('shop')
            .createCollection('truth')
            .catch(() => {})
          await client
            .db('shop')
            .command({ collMod: 'truth', changeStreamPreAndPostImages: { enabled: true } })
        },
      },
    ],
    async close() {
      await client.close()
      await server.remove()
    },
  }
}

/** Kills every change stream's cursor. @param {MongoClient} client */
async function killCursors(client) {
  const cursors = await client
    .db('admin')
    .aggregate([
      { $currentOp: { idleCursors: true, allUsers: true } },
      { $match: { 'cursor.tailable': true } },
    ])
    .toArray()
  for (const { cursor, ns } of cursors) {
    const [database, ...rest] = ns.split('.')
    await client.db(database).command({ killCursors: rest.join('.'), cursors: [cursor.cursorId] })
  }
}

module.exports = { mongodbSide }
