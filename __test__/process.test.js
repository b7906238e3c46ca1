'use strict'

// What a streamer means for the process around it: exits, memory, workers, a missing addon. Each test is a process of its own.

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const path = require('node:path')
const { test } = require('node:test')

const ROOT = path.join(__dirname, '..')

/** Runs a script over the scripted engine and resolves with what it printed and its exit code. */
async function run(script, flags = []) {
  const program = `const { scripted, settled } = require('./__test__/support/engine.js'); ${script}`
  const child = spawn(process.execPath, [...flags, '-e', program], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  let err = ''
  child.stdout.on('data', chunk => (out += chunk))
  child.stderr.on('data', chunk => (err += chunk))
  const [code] = await once(child, 'close')
  return { out: out.trim(), err, code }
}

test('a process with a streamer that never started exits by itself', async () => {
  assert.deepEqual(await run(`scripted(); console.log('end')`), { out: 'end', err: '', code: 0 })
})

test('a started streamer keeps the process alive until it is stopped', async () => {
  const script = `
    const { streamer, engine } = scripted()
    engine.started.resolve()
    streamer.on('change', () => {})
    streamer.start().then(() => setTimeout(() => { console.log('alive'); streamer.stop() }, 50).unref())
    process.on('exit', () => console.log('exit'))`
  assert.deepEqual(await run(script), { out: 'alive\nexit', err: '', code: 0 })
})

test('unref() lets the process go, ref() holds it again', async () => {
  const script = call => `
    const { streamer, engine } = scripted()
    engine.started.resolve()
    ${call}
    streamer.start().then(() => setTimeout(() => { console.log('held'); process.exit(3) }, 100).unref())`
  assert.deepEqual(await run(script('streamer.unref()')), { out: '', err: '', code: 0 })
  assert.deepEqual(await run(script('streamer.unref().ref()')), { out: 'held', err: '', code: 3 })
})

test('who awaits stop() is answered, also after unref()', async () => {
  const script = `
    const { streamer, engine } = scripted()
    engine.started.resolve()
    engine.stop = () => new Promise(() => {})
    streamer.unref().start().then(() => streamer.stop({ timeoutMs: 50 })).then(() => console.log('stopped'))`
  assert.deepEqual(await run(script), { out: 'stopped', err: '', code: 0 })
})

test('a failed start lets the process go', async () => {
  const script = `
    const { streamer, engine } = scripted()
    streamer.start().catch(error => console.log(error.code))
    engine.started.reject(new Error('{"code":"ERR_STREAMER_TIMEOUT","retry":"never","message":"m","details":{}}'))`
  assert.deepEqual(await run(script), { out: 'ERR_STREAMER_TIMEOUT', err: '', code: 0 })
})

test('an exception of a listener ends the process before the next change is delivered', async () => {
  const script = `
    const { streamer, engine } = scripted()
    engine.started.resolve()
    streamer.on('change', change => { console.log(change.after.id); throw new Error('mine') })
    streamer.start().then(() => engine.rows([1, 2]))`
  const { out, err, code } = await run(script)
  assert.deepEqual([out, code], ['1', 1])
  assert.match(err, /Error: mine/)
})

test('a streamer that nobody holds is collected while it is not started, and kept while it is', async () => {
  const script = `
    const engines = []
    function make(start) {
      const { streamer, engine } = scripted()
      engines.push(engine)
      engine.started.resolve()
      if (start) streamer.on('change', change => console.log('kept', change.after.id))
      return new WeakRef(streamer)
    }
    const idle = Array.from({ length: 20 }, () => make(false))
    make(true)
    setTimeout(() => {
      gc()
      setTimeout(() => {
        gc()
        console.log('idle', idle.filter(ref => ref.deref() !== undefined).length <= 1)
        engines.at(-1).rows([7])
        process.exit(0)
      }, 10)
    }, 10)`
  assert.deepEqual(await run(script, ['--expose-gc']), { out: 'idle true\nkept 7', err: '', code: 0 })
})

test('a worker on a Node.js that may crash with it is warned once', async () => {
  const program = `
    const { Worker } = require('node:worker_threads')
    process.on('warning', warning => console.log(warning.code))
    const addon = './lib/addon.js'
    new Worker(\`
      const Module = require('node:module')
      const load = Module._load
      Module._load = (name, ...rest) => name === '../native.js' 
        ? { VERSION: require('./package.json').version, BOUNDARY: require('./lib/addon.js').BOUNDARY, Engine: class {} } : load(name, ...rest)
      Object.defineProperty(process, 'versions', { value: { ...process.versions, node: process.env.PRETENDED } })
      process.on('warning', warning => console.log(warning.code))
      const { Streamer } = require('./index.js')
      new Streamer('mysql://h/d')
      new Streamer('mysql://h/d')
    \`, { eval: true, env: { PRETENDED: process.argv[1] } })`
  const warnings = async version => {
    const child = spawn(process.execPath, ['-e', program, version], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    let out = ''
    child.stdout.on('data', chunk => (out += chunk))
    await once(child, 'close')
    return out.trim()
  }
  assert.equal(await warnings('24.13.9'), 'STREAMER_WORKER')
  assert.equal(await warnings('24.14.0'), '')
})

test('a missing addon is one sentence with the package that is missing', async () => {
  const script = `
    const Module = require('node:module')
    const load = Module._load
    Module._load = (name, ...rest) => {
      if (name === '../native.js') throw new Error('Cannot find native binding')
      return load(name, ...rest)
    }
    const { Streamer } = require('./index.js')
    try { new Streamer('mysql://h/d') } catch ({ code, details, cause }) { console.log(code, details.package, cause.message) }`
  const child = spawn(process.execPath, ['-e', script], { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] })
  let out = ''
  child.stdout.on('data', chunk => (out += chunk))
  await once(child, 'close')
  assert.match(
    out,
    /^ERR_STREAMER_ADDON_MISSING ultimate-streaming-\w+-\w+(-\w+)? Cannot find native binding\n$/
  )
})

test('an addon that does not belong to the JavaScript beside it is refused in one sentence', async () => {
  const { version } = require('../package.json')
  const script = `
    const Module = require('node:module')
    const load = Module._load
    const addon = JSON.parse(process.argv[1])
    Module._load = (name, ...rest) => (name === '../native.js' ? addon : load(name, ...rest))
    const { Streamer } = require('./index.js')
    try { new Streamer('mysql://h/d') } catch ({ code, message, details }) {
      console.log(JSON.stringify({ code, message, found: details.found }))
    }`
  for (const [addon, found] of /** @type {[any, RegExp][]} */ ([
    [{}, /, one of an earlier version was found\./],
    [{ VERSION: '0.0.9', BOUNDARY: 1 }, /, version 0\.0\.9 \(boundary 1\) was found\./],
    [{ VERSION: version, BOUNDARY: 0 }, /\(boundary 0\) was found\./],
  ])) {
    const child = spawn(process.execPath, ['-e', script, JSON.stringify(addon)], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let out = ''
    child.stdout.on('data', chunk => (out += chunk))
    await once(child, 'close')
    const error = JSON.parse(out)
    assert.equal(error.code, 'ERR_STREAMER_ADDON_MISMATCHED')
    assert.match(error.message, found)
    assert.deepEqual(error.found, { version: addon.VERSION ?? null, boundary: addon.BOUNDARY ?? null })
  }
})

test('import and require give the same class', async () => {
  const required = require('..')
  const imported = await import('../index.mjs')
  assert.deepEqual(Object.keys(imported).sort(), Object.keys(required).sort())
  for (const name of Object.keys(required)) assert.equal(imported[name], required[name], name)
})
