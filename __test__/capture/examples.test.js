'use strict'

// The examples and the command line, run as a user runs them, against real servers.

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { installExamples } = require('../support/examples')
const { freshDatabase, openKit } = require('../support/servers')

const ROOT = path.join(__dirname, '../..')
const DEADLINE_MS = 30_000

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
/** @type {Record<string, any>} */
const servers = {}
before(async () => {
  installExamples()
  kit = await openKit()
  servers.mysql = await kit.mysql()
  servers.mariadb = await kit.mariadb()
})
after(() => kit?.close())

/** Runs a program until its output holds `words`, then sends `signal`; resolves with output and exit code. */
async function until(args, words, act, signal = 'SIGINT') {
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let errors = ''
  const exited = once(child, 'exit')
  const timer = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS)
  child.stderr.on('data', chunk => (errors += chunk))
  const seen = new Promise(resolve => {
    child.stdout.on('data', chunk => {
      output += chunk
      if (words.test(output)) resolve(undefined)
    })
  })
  // The program has no way to say that it streams: rows are written until it shows one.
  const writing = act()
  await Promise.race([seen, exited])
  writing.stop()
  await writing.done
  child.kill(signal)
  const [code] = await exited
  clearTimeout(timer)
  return { output, errors, code }
}

/** Inserts rows until it is stopped. */
function inserts(connection) {
  let running = true
  const done = (async () => {
    for (let id = 1; running; id++) {
      await connection.query('INSERT INTO orders VALUES (?, ?, ?)', [id, 'tea', '12.50'])
      await new Promise(resolve => setTimeout(resolve, 20))
    }
  })()
  return { stop: () => (running = false), done }
}

async function shop(kind) {
  const database = await freshDatabase(servers[kind])
  const connection = await database.connect()
  await connection.query('CREATE TABLE orders (id INT PRIMARY KEY, product VARCHAR(20), total DECIMAL(8,2))')
  return { database, connection }
}

for (const kind of ['mysql', 'mariadb']) {
  for (const example of ['dashboard.js', 'iterate.mjs']) {
    test(`examples/${example} shows changes of ${kind} and stops with Ctrl-C`, async () => {
      const { database, connection } = await shop(kind)
      const run = await until([`examples/${example}`, database.url], /insert/, () => inserts(connection))
      assert.match(run.output, /orders/)
      assert.equal(run.errors, '')
      assert.equal(run.code, 0)
      await connection.end()
    })
  }

  test(`tail --json prints one document a line (${kind})`, async () => {
    const { database, connection } = await shop(kind)
    const run = await until(['bin/ultimate-streaming.js', 'tail', database.url, '--json'], /\n/, () =>
      inserts(connection)
    )
    const change = JSON.parse(run.output.split('\n')[0])
    assert.equal(change.op, 'insert')
    assert.equal(change.table, 'orders')
    assert.deepEqual(change.after, { id: change.key.id, product: 'tea', total: '12.50' })
    assert.equal(run.code, 0, run.errors)
    await connection.end()
  })

  test(`tail is readable on a terminal, and has no colours in a pipe (${kind})`, async () => {
    const { database, connection } = await shop(kind)
    const run = await until(['bin/ultimate-streaming.js', 'tail', database.url], /\n/, () =>
      inserts(connection)
    )
    assert.match(run.output, /insert .*orders/i)
    assert.ok(!run.output.includes('\u001b['))
    assert.equal(run.code, 0, run.errors)
    await connection.end()
  })
}

test('tail says what is wrong in one sentence, with the code, and exits with 1', async () => {
  const child = spawn(
    process.execPath,
    ['bin/ultimate-streaming.js', 'tail', `${servers.mysql.url}/no_such_database`],
    { cwd: ROOT }
  )
  let errors = ''
  child.stderr.on('data', chunk => (errors += chunk))
  const [code] = await once(child, 'exit')
  assert.equal(code, 1)
  assert.match(errors, /ERR_STREAMER_DATABASE_UNKNOWN/)
  assert.match(errors, /no_such_database/)
})
