'use strict'

// The command line: what it prints, and how it ends. The child process runs the real command over a scripted engine.

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const path = require('node:path')
const { test } = require('node:test')
const { jsonLine, notice, textLine } = require('../lib/cli/format')
const { JsonDifference, version } = require('..')

const ROOT = path.join(__dirname, '..')

/** Makes the native engine a scripted one that delivers `rows` once it was started. */
function preload(script) {
  return `
    const { ScriptedEngine } = require(${JSON.stringify(path.join(ROOT, '__test__/support/engine.js'))})
    const start = ScriptedEngine.prototype.start
    ScriptedEngine.prototype.start = function () { this.started.resolve(); setImmediate(() => { ${script} }); return start.call(this) }
    process.argv.splice(1, 0, 'ultimate-streaming')
    require(${JSON.stringify(path.join(ROOT, 'lib/cli/main.js'))}).main(process.argv.slice(2))`
}

async function run(args, { script = '', onOutput = () => {}, env = {} } = {}) {
  const child = spawn(process.execPath, ['-e', preload(script), '--', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, STREAMER_URL: '', ...env },
  })
  const result = { out: '', err: '' }
  child.stdout.on('data', chunk => {
    result.out += chunk
    onOutput(child, result)
  })
  child.stderr.on('data', chunk => {
    result.err += chunk
    onOutput(child, result)
  })
  const [code, signal] = await once(child, 'close')
  return { ...result, code: code ?? signal }
}

test('--help and --version', async () => {
  const help = await run(['--help'])
  assert.equal(help.code, 0)
  assert.match(help.out, /Usage: ultimate-streaming tail/)
  assert.ok(help.out.split('\n').every(line => line.length <= 100))
  assert.deepEqual(await run(['--version']), { out: `${version}\n`, err: '', code: 0 })
})

test('a wrong command line is one sentence and exit code 2', async () => {
  const wrong = [
    [],
    ['follow'],
    ['tail'],
    ['tail', 'mysql://h/d', 'x'],
    ['tail', '--colour', 'u'],
    ['tail', '--limit', 'all', 'u'],
    ['tail', '--limit', '0', 'u'],
    ['tail', '--ops', 'inserts', 'u'],
  ]
  for (const args of wrong) {
    const { out, err, code } = await run(args)
    assert.deepEqual([out, code], ['', 2], args.join(' '))
    assert.match(err, /^ultimate-streaming: [^\n]+\n$/)
  }
})

test('changes go to stdout, one line each, without colours where it is no terminal', async () => {
  const script = `this.notice({ type: 'ready' }); this.rows([1]); this.rows([2], { op: 2 })`
  const { out, err, code } = await run(['tail', '--limit', '2', 'mysql://h/d'], { script })
  assert.deepEqual(out, '00:00:01.000 insert   shop.orders  id=1\n00:00:01.000 delete   shop.orders  id=2\n')
  assert.match(err, /^# connected/)
  assert.equal(code, 0)
})

test('--json prints documents, and options reach the engine', async () => {
  const script = `if (this.config.source.tables.join() !== 'a.b,c.d' || this.config.source.tls !== false) process.exit(9); this.rows([1, 2])`
  const args = ['tail', '--json', '--limit', '2', '--tables', 'a.b,c.d', '--no-tls', '--quiet']
  const { out, err, code } = await run(args, { script, env: { STREAMER_URL: 'mysql://h/d' } })
  assert.deepEqual([err, code], ['', 0])
  assert.deepEqual(
    out
      .trim()
      .split('\n')
      .map(line => JSON.parse(line).after.id),
    [1, 2]
  )
})

test('--snapshot asks for the rows that are there, and progress goes to stderr', async () => {
  const progress = JSON.stringify({
    type: 'snapshot',
    source: 'default',
    id: 's',
    table: 'shop.orders',
    rows: 1,
    estimatedRows: null,
    done: true,
    remaining: 0,
    position: 'p',
  })
  const script = `
    const { snapshot, capture, log } = this.config.source
    if ([snapshot, capture, log].join() !== 'initial,log,oplog') process.exit(9)
    this.rows([1], { op: 3 })
    this.notice(${progress})
    this.rows([2])`
  const args = ['tail', '--snapshot', '--capture', 'log', '--log', 'oplog', '--limit', '2', 'mongodb://h/d']
  const { out, err, code } = await run(args, { script })
  assert.deepEqual(
    out.split('\n').map(line => line.slice(13)),
    ['read     shop.orders  id=1', 'insert   shop.orders  id=2', '']
  )
  assert.match(err, /^# snapshot: 1 rows of shop\.orders, all of it; 0 left$/m)
  assert.equal(code, 0)
})

test('Ctrl-C stops cleanly, a second one at once', async () => {
  const interrupt = child => child.kill('SIGINT')
  const once_ = await run(['tail', 'mysql://h/d'], { script: 'this.rows([1])', onOutput: interrupt })
  assert.equal(once_.code, 0)
  const script = 'this.stopResult = new Promise(() => {}); this.rows([1])'
  let count = 0
  const onOutput = child => {
    if (count++ > 0) return
    interrupt(child)
    const again = setInterval(() => interrupt(child), 100)
    child.on('exit', () => clearInterval(again))
  }
  assert.equal((await run(['tail', 'mysql://h/d'], { script, onOutput })).code, 130)
})

test('a reader that goes away ends it quietly', async () => {
  const script = 'let n = 0; this.acknowledge = () => this.rows([++n]); this.rows([0])'
  const onOutput = child => child.stdout.destroy()
  const { err, code } = await run(['tail', '--quiet', 'mysql://h/d'], { script, onOutput })
  assert.deepEqual([err, code], ['', 0])
})

test('an error is one sentence with its code, and exit code 1', async () => {
  const script = `this.notice({ type: 'error', error: { code: 'ERR_STREAMER_POSITION_LOST', retry: 'operator', message: 'Gone.', details: {} } })`
  const { out, err, code } = await run(['tail', 'mysql://h/d'], { script })
  assert.deepEqual([out, err, code], ['', 'ultimate-streaming: Gone. [ERR_STREAMER_POSITION_LOST]\n', 1])
})

const change = {
  id: 't:0',
  source: 'default',
  op: 'update',
  database: 'd',
  table: 't',
  key: { id: 1 },
  before: { id: 1, v: 'old\u001b[31m' },
  after: {
    id: 1,
    v: 'new',
    big: 2n ** 63n,
    raw: Buffer.from([1, 2]),
    doc: new JsonDifference([]),
    at: new Date(0),
  },
  changed: ['v'],
  timestamp: 0,
  transaction: { id: 't', index: 0, last: true },
  position: 'p',
}

test('lines for people show what changed, and no control character reaches the terminal', () => {
  assert.equal(textLine(change, false), '00:00:00.000 update   d.t  id=1  v="old\\u001b[31m" → "new"')
  assert.ok(textLine(change, true).includes('\u001b[33mupdate'))
  const long = { ...change, op: 'insert', before: null, after: { v: 'x'.repeat(500), raw: Buffer.alloc(99) } }
  assert.ok(textLine(long, false).length < 300)
  const strange = notice('schema', { statement: 'CREATE TABLE t\n\u0007' }, false)
  assert.equal(strange, '# definition changed: CREATE TABLE t\\u000a\\u0007')
  assert.match(
    notice('gap', { tables: '*', reason: 'log-purged', from: null, to: 'p' }, false),
    /all tables may be missing \(log-purged\)/
  )
})

test('JSON lines lose no value', () => {
  const { after } = JSON.parse(jsonLine(change))
  assert.deepEqual(after, {
    id: 1,
    v: 'new',
    big: '9223372036854775808',
    raw: { $binary: 'AQI=' },
    doc: { $difference: [] },
    at: '1970-01-01T00:00:00.000Z',
  })
})

test('documents: updates show what was done, and values of BSON lose nothing', () => {
  const { Binary, Decimal128, MaxKey, ObjectId } = require('bson')
  const _id = new ObjectId('0123456789abcdef01234567')
  const common = {
    source: 'default',
    database: 'shop',
    table: 'orders',
    timestamp: 0,
    position: 'p',
    before: null,
  }
  const update = {
    updatedFields: { 'a.b': Decimal128.fromString('1.50'), 'x\u001b': [_id] },
    removedFields: ['gone'],
    truncatedArrays: [{ field: 'list', newSize: 2 }],
  }
  const updated = { ...common, op: 'update', key: { _id }, after: { _id }, changed: [], update }
  assert.equal(
    textLine(updated, false),
    '00:00:00.000 update   shop.orders  _id=0123456789abcdef01234567  a.b=1.50 x\\u001b=[{"$oid":"0123456789abcdef01234567"}] -gone list[..2]'
  )
  const escape = String.fromCharCode(27)
  const deleted = {
    ...common,
    op: 'delete',
    key: { _id: new RegExp(`a${escape}`) },
    after: null,
    changed: null,
  }
  assert.equal(textLine(deleted, false), '00:00:00.000 delete   shop.orders  _id=/a\\u001b/')
  const after = {
    _id,
    bytes: new Binary(Buffer.from('a')),
    max: new MaxKey(),
    pattern: /a/i,
    at: new Date(0),
    _bsontype: 'mine',
  }
  assert.deepEqual(
    JSON.parse(jsonLine({ ...common, op: 'insert', key: { _id }, after, changed: null })).after,
    {
      _id: { $oid: '0123456789abcdef01234567' },
      bytes: { $binary: { base64: 'YQ==', subType: '00' } },
      max: { $maxKey: 1 },
      pattern: { $regularExpression: { pattern: 'a', options: 'i' } },
      at: '1970-01-01T00:00:00.000Z',
      _bsontype: 'mine',
    }
  )
})
