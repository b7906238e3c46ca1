'use strict'

// Each application under `examples/`: started, followed over HTTP and in a real browser while another process writes, and stopped.

const assert = require('node:assert/strict')
const { spawnSync } = require('node:child_process')
const path = require('node:path')
const { after, before, test } = require('node:test')
const {
  DEADLINE_MS,
  EXAMPLES,
  Program,
  installExamples,
  openBrowser,
  openShop,
} = require('../support/examples')
const { freshMongodb } = require('../support/mongodb')
const { freePort } = require('../support/port')
const { freshDatabase, openKit } = require('../support/servers')

/** @type {any} */
let browser
/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
/** @type {Awaited<ReturnType<typeof openShop>>} */
let shop
before(async () => {
  installExamples()
  kit = await openKit()
  shop = await openShop()
  browser = await openBrowser()
})
after(async () => {
  await browser?.close()
  await shop?.close()
  await kit?.close()
})

/** Starts a server of the examples, and resolves when it listens. */
async function serve(args, env = {}) {
  const port = await freePort()
  const program = new Program(args(port), { ...shop.env, PORT: `${port}`, ...env })
  await program.says(new RegExp(`:${port}`))
  return { program, url: `http://127.0.0.1:${port}` }
}

/** Lines of Server-Sent Events until `isEnough`. */
async function follow(url, isEnough) {
  const response = await fetch(`${url}/changes`, { signal: AbortSignal.timeout(DEADLINE_MS) })
  assert.equal(response.headers.get('content-type'), 'text/event-stream')
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of response.body) {
    text += decoder.decode(chunk, { stream: true })
    const changes = [...text.matchAll(/^event: change\ndata: (.*)\n\n/gm)].map(([, json]) => JSON.parse(json))
    if (isEnough(changes)) return changes
  }
  throw new Error(`the stream ended with: ${text}`)
}

/** A page shows rows that are written, changed and deleted while it is open. */
async function watch(url) {
  const context = await browser.newContext()
  const page = await context.newPage()
  page.setDefaultTimeout(DEADLINE_MS)
  await page.goto(url)
  await page.waitForFunction(() => globalThis.document.getElementById('state')?.textContent === 'live')
  const count = shop.writer.output.match(/order/g)?.length ?? 0
  // Orders come in threes: one that stays, one that is updated to a total of 1, one that is deleted.
  await page.waitForFunction(first => {
    const rows = [...globalThis.document.querySelectorAll('#rows tr')]
    const news = rows.filter(row => Number(row.id.slice('order-'.length)) > first)
    return news.length >= 3 && news.some(row => row.lastElementChild?.textContent === '1')
  }, count)
  const text = await page.textContent('#rows')
  assert.doesNotMatch(text ?? '', /4111/)
  await context.close()
}

const servers = {
  sse: () => ['sse/main.js'],
  express: () => ['express/main.js'],
  fastify: () => ['fastify/main.js'],
  nest: () => ['nest/main.mjs'],
  next: port => [
    'node_modules/next/dist/bin/next',
    'start',
    'next',
    '--hostname',
    '127.0.0.1',
    '--port',
    `${port}`,
  ],
}

/** What must be built first. */
const builds = {
  nest: [['node_modules/typescript/bin/tsc', '-p', 'nest']],
  next: [['next/prepare.js'], ['node_modules/next/dist/bin/next', 'build', 'next']],
  prisma: [['node_modules/prisma/build/index.js', 'generate', '--schema', 'prisma/schema.prisma']],
}

/** No telemetry. Any program stands for Prisma's schema engine, which `prisma generate` fetches where it is missing, and does not run. */
const BUILD_ENV = {
  NEXT_TELEMETRY_DISABLED: '1',
  CHECKPOINT_DISABLE: '1',
  PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
}

/** @param {string} name of an example */
function build(name) {
  for (const args of builds[name] ?? []) {
    const { status, stdout, stderr } = spawnSync(process.execPath, args, {
      cwd: EXAMPLES,
      encoding: 'utf8',
      env: { ...process.env, ...shop.env, ...BUILD_ENV },
    })
    assert.equal(status, 0, stdout + stderr)
  }
}

for (const [name, args] of Object.entries(servers)) {
  test(`examples/${name}: changes of another process arrive over HTTP and in a browser, and it stops cleanly`, async () => {
    build(name)
    const { program, url } = await serve(args)
    try {
      const changes = await follow(url, seen =>
        ['insert', 'update', 'delete'].every(op => seen.some(change => change.op === op))
      )
      assert.deepEqual(Object.keys(changes.find(({ op }) => op === 'insert').after), [
        'id',
        'product',
        'total',
      ])
      await watch(url)
      // A browser that is still there does not hold it up.
      const open = await fetch(`${url}/changes`)
      // Next.js ends with 130, NestJS by the signal itself; one that has to be killed gives another.
      assert.ok([0, 130, 'SIGINT'].includes(await program.interrupt()), program.output)
      await open.body?.cancel()
    } finally {
      await program.kill()
    }
  })
}

test('examples/socket.io: a browser sees rows change, and it stops cleanly', async () => {
  const { program, url } = await serve(() => ['socket.io/main.js'])
  try {
    await watch(url)
    assert.equal(await program.interrupt(), 0, program.output)
  } finally {
    await program.kill()
  }
})

test('who may not watch is shown nothing', async () => {
  for (const name of ['sse', 'express', 'fastify', 'nest']) {
    const { program, url } = await serve(servers[name], { ACCESS_TOKEN: 'secret' })
    const statuses = []
    for (const headers of [{}, { cookie: 'token=wrong' }, { cookie: 'a=b; token=secret' }]) {
      const { status } = await fetch(`${url}/orders`, { headers })
      const changes = await fetch(`${url}/changes`, { headers })
      await changes.body?.cancel()
      statuses.push([status < 400, changes.status < 400])
    }
    assert.deepEqual(
      statuses,
      [
        [false, false],
        [false, false],
        [true, true],
      ],
      name
    )
    await program.interrupt()
  }
})

/** A SQLite database that nobody else writes to. */
const sqlite = () => `${shop.env.DATABASE_URL}.${++files}`
let files = 0

/** Runs an example that ends by itself. */
async function ran(script, url) {
  const program = new Program([script], { DATABASE_URL: url })
  const timer = setTimeout(() => program.kill(), DEADLINE_MS)
  const code = await program.exited
  clearTimeout(timer)
  assert.equal(code, 0, program.output)
  return program.output
}

test('examples/knex: writes are seen, what was rolled back is not, on SQLite, MariaDB and MySQL', async () => {
  assert.match(await ran('knex/main.js', sqlite()), /rolled back[^]*insert orders[^]*update orders/)
  for (const kind of /** @type {const} */ (['mariadb', 'mysql'])) {
    const database = await freshDatabase(await kit[kind]())
    const output = await ran('knex/main.js', database.url)
    assert.match(output, /rolled back[^]*insert orders[^]*update orders[^]*total: '5.00'[^]*read[^]*hits/)
    await database.drop()
  }
})

test('examples/drizzle: writes of another copy of SQLite in the process are seen', async () => {
  // What two copies do to each other without locks between them depends on the moment.
  for (let round = 0; round < 5; round++) {
    const output = await ran('drizzle/main.js', sqlite())
    assert.match(output, /insert orders[^]*update orders[^]*delete orders/)
  }
})

test('examples/prisma: writes of a client that was just generated are seen, what was rolled back is not', async () => {
  build('prisma')
  // As with Drizzle, another copy of SQLite.
  for (let round = 0; round < 5; round++) {
    const output = await ran('prisma/main.js', sqlite())
    assert.match(
      output,
      /rolled back[^]*insert orders[^]*update orders[^]*total: 5\b[^]*update orders[^]*green tea[^]*delete orders/
    )
    assert.doesNotMatch(output, /total: 0\b/)
  }
})

test('examples/mongoose: what models save is seen, as documents of the model', async () => {
  const database = await freshMongodb(await kit.mongodb())
  const output = await ran('mongoose/main.js', database.url)
  assert.match(output, /insert orders[^]*update orders[^]*tea 5\b[^]*is the same order: true/)
  await database.drop()
})

test('a browser that takes nothing is disconnected, and costs no more than the bound', async () => {
  const { Audience, LIMIT_BYTES } = require(path.join(EXAMPLES, 'common/audience.js'))
  const http = require('node:http')
  const audience = new Audience()
  const server = http.createServer((_, response) => audience.join(response)).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  // It asks, and never reads.
  const socket = require('node:net').connect(port, '127.0.0.1', () =>
    socket.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n')
  )
  socket.pause()
  socket.on('error', () => {})
  const end = Date.now() + DEADLINE_MS
  while (audience.size === 0 && Date.now() < end) await new Promise(resolve => setImmediate(resolve))
  let sent = 0
  while (audience.size > 0 && Date.now() < end) {
    audience.send('change', { text: 'x'.repeat(10_000) })
    sent += 10_000
    await new Promise(resolve => setImmediate(resolve))
  }
  assert.equal(audience.size, 0)
  assert.ok(sent > LIMIT_BYTES)
  socket.destroy()
  audience.close()
  server.close()
})
