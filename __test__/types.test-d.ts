import { expectAssignable, expectError, expectNotAssignable, expectType } from 'tsd'
import {
  Change,
  errorCodes,
  ErrorCode,
  Health,
  InsertChange,
  Row,
  Streamer,
  StreamerConfig,
  StreamerError,
  version,
} from '..'

interface Order {
  id: number
  total: string
  note: string | null
}
interface Customer {
  id: bigint
  name: string
}
interface Shop {
  'shop.orders': Order
  'shop.customers': Customer
}

// Without a schema, rows are records of unknown values.
const plain = new Streamer('mysql://root@127.0.0.1/shop')
plain.on('change', change => {
  expectAssignable<Change>(change)
  expectType<string>(change.table)
  expectType<string>(change.database)
  if (change.op === 'insert') {
    expectType<Row>(change.after)
    expectType<null>(change.before)
  }
})

// One table: `after` is its row.
const one = new Streamer<{ 'shop.orders': Order }>('mysql://root@127.0.0.1/shop')
one.on('change', change => {
  expectAssignable<Change<Order>>(change)
  if (change.after !== null) expectType<string>(change.after.total)
  switch (change.op) {
    case 'insert':
      expectType<Order>(change.after)
      expectType<null>(change.before)
      break
    case 'update':
      expectType<Order>(change.after)
      expectType<readonly string[] | null>(change.changed)
      break
    case 'delete':
      expectType<null>(change.after)
      expectType<Order | null>(change.before)
      break
    case 'truncate':
      expectType<null>(change.after)
      expectType<Partial<Order> | null>(change.key)
      break
  }
})
one.on('insert', change => {
  expectType<'insert'>(change.op)
  expectType<Order>(change.after)
})
one.on('update', change => expectType<Order>(change.after))
one.on('delete', change => expectType<null>(change.after))
one.on('insert', (change: InsertChange<Order>) => change.after.total)
one.on('change', (change: Change<Order>) => change.op)
one.on('batch', changes => {
  for (const change of changes) if (change.op === 'insert') expectType<Order>(change.after)
})

// Several tables: `table` tells the rows apart.
const shop = new Streamer<Shop>({ source: { url: 'mysql://root@127.0.0.1/shop', tables: ['shop.*'] } })
shop.on('change', change => {
  expectType<'shop'>(change.database)
  expectType<'orders' | 'customers'>(change.table)
  if (change.table === 'orders' && change.op === 'insert') expectType<Order>(change.after)
  if (change.table === 'customers' && change.op === 'insert') expectType<bigint>(change.after.id)
})

// A pattern in a schema names no table literally.
new Streamer<{ 'shop_*.orders': Order }>('mysql://h/d').on('insert', change => {
  expectType<string>(change.database)
  expectType<'orders'>(change.table)
})

// Loops narrow by their options.
async function loops(signal: AbortSignal) {
  for await (const change of shop.changes({ tables: ['shop.orders'], ops: ['insert'], signal })) {
    expectType<'orders'>(change.table)
    expectType<'insert'>(change.op)
    expectType<Order>(change.after)
  }
  for await (const change of shop.changes()) expectType<'orders' | 'customers'>(change.table)
  for await (const change of shop.changes({ tables: ['shop.*'] })) {
    expectType<'orders' | 'customers'>(change.table)
  }
  for await (const change of plain.changes({ tables: ['a.b'] })) expectAssignable<Change>(change)
  expectError(shop.changes({ ops: ['inserted'] }))
  expectError(shop.changes({ table: ['shop.orders'] }))
}
loops(new AbortController().signal)

// Lifecycle.
expectType<Promise<Streamer<Shop>>>(shop.start())
expectType<Promise<void>>(shop.stop({ timeoutMs: 1000 }))
expectType<Promise<void>>(shop[Symbol.asyncDispose]())
expectType<Streamer<Shop>>(shop.ref().unref())
expectType<Health>(shop.health())
expectType<string>(shop.metrics())
expectType<string>(version)
expectType<readonly ErrorCode[]>(errorCodes)
expectError(shop.stop({ timeout: 1000 }))

// Other events.
shop.on('error', error => {
  expectType<StreamerError>(error)
  if (error.code === 'ERR_STREAMER_GRANT_MISSING') expectType<'automatic' | 'operator' | 'never'>(error.retry)
  expectNotAssignable<ErrorCode>('ERR_STREAMER_GRANT_MISING')
})
shop.on('gap', gap => expectType<readonly string[] | '*'>(gap.tables))
shop.on('schema', change => expectType<string | null>(change.statement))
shop.on('disconnect', ({ error, retryInMs }) => {
  expectType<StreamerError>(error)
  expectType<number>(retryInMs)
})
shop.on('ready', () => {})
expectError(shop.on('change', (change: string) => change))

// Documents.
shop.on('update', change => {
  if (change.update) {
    expectType<Record<string, unknown>>(change.update.updatedFields)
    expectType<readonly string[]>(change.update.removedFields)
    expectType<number>(change.update.truncatedArrays[0].newSize)
  }
  if (change.transaction !== null) expectType<number>(change.transaction.index)
})
new Streamer({
  url: 'mongodb://a,b/shop?replicaSet=rs0',
  tables: ['orders'],
  pipeline: [{ $match: { 'fullDocument.paid': true } }],
  fullDocument: 'updateLookup',
  fullDocumentBeforeChange: 'whenAvailable',
})
expectError(new Streamer({ url: 'mongodb://h/d', fullDocument: 'always' }))
expectError(new Streamer({ source: { url: 'mongodb://h/d', fullDocumentBeforeChange: true } }))

// Reads.
const reads = new Streamer({ source: 'mongodb://h/d', cache: true })
expectType<Promise<{ v: number }[]>>(
  reads.find<{ v: number }>('t', { _id: 1 }, { sort: { v: -1 }, limit: 1 })
)
expectType<string | null>(reads.position())
expectError(reads.find('t', {}, { sort: { v: 'up' } }))
reads.cache.explain('t', { filter: { _id: 1 } })
reads.cache.invalidate({ table: 't', key: new Date() })

// Configurations.
expectAssignable<StreamerConfig>({ source: 'mysql://h/d', heartbeat: { intervalMs: 500 }, logger: console })
expectAssignable<StreamerConfig>({
  sources: { a: 'mysql://h/d', b: { url: 'mariadb://h/d', dates: 'string' } },
})
expectNotAssignable<StreamerConfig>({ source: 'mysql://h/d', sources: { a: 'mysql://h/d' } })
expectNotAssignable<StreamerConfig>({})
expectError(new Streamer())
expectError(new Streamer(3306))
expectError(new Streamer({ source: 'mysql://h/d', hartbeat: {} }))
expectError(new Streamer({ source: { url: 'mysql://h/d', integers: 'number' } }))
expectError(new Streamer({ source: { url: 'mysql://h/d', serverid: 1 } }))
expectError(new Streamer({ source: { url: 'mysql://h/d', tables: 'a.b' } }))
expectError(new Streamer({ source: 'mysql://h/d', delivery: { batchSize: '256' } }))
expectError(new Streamer({ url: 'mysql://h/d', from: 7 }))
expectError(new Streamer({ source: 'mysql://h/d', logger: { info() {} } }))
