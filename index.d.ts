// The public contract of `ultimate-streaming`.

import { EventEmitter } from 'node:events'

/** A database row. Narrow it with a type parameter: `Streamer<{ 'shop.orders': Order }>`. */
export type Row = Record<string, unknown>

/** Row types by `database.table`; a name may hold `*` and `?`. */
export type Schema = Record<string, Row>

/** What happened to a row, or to a whole table. */
export type Operation = 'insert' | 'update' | 'replace' | 'delete' | 'read' | 'truncate' | 'drop' | 'rename'

/** One committed change. Plain data: safe to keep, to structured-clone and to post to a worker. */
export interface Change<T extends object = Row> {
  /** Unique and stable: the same change carries the same id whenever it is delivered again. */
  readonly id: string
  /** The source's name in the configuration (`'default'` when there is only one). */
  readonly source: string
  /** What happened. An update that changes the primary key arrives as a `delete` and an `insert`. */
  readonly op: Operation
  /** Database (schema) name. */
  readonly database: string
  /** Table, or MongoDB collection. */
  readonly table: string
  /** The primary key's columns (`{ _id }` in MongoDB, with a shard key its fields too), or `null` for a table without one. */
  readonly key: Partial<T> | null
  /** The row before the change, where the server logs it; else `null`. */
  readonly before: T | null
  /**
   * The row after the change; `null` for a delete. A column that the server did not log is absent, never `null`: of a MongoDB update
   * without an image there are `_id` and the fields that were set whole.
   */
  readonly after: T | null
  /** For an update: the names of the columns whose value changed; of a MongoDB document, paths. Frozen. */
  readonly changed: readonly string[] | null
  /** When the source committed it, in ms since the Unix epoch, by the source's clock. For a `read`: when it was read. */
  readonly timestamp: number
  /** The transaction it belongs to: every change of one transaction carries the same `id`; `index` counts from 0. `null` for a MongoDB write outside one, and for a `read`. */
  readonly transaction: { readonly id: string; readonly index: number; readonly last: boolean } | null
  /** Where this change ends in the source's log. Opaque; hand it to `from` to continue after it. */
  readonly position: string
  /** For a rename: the table's new name, as `database.table`. */
  readonly renamedTo?: string
  /** MongoDB, for an update that the server describes: what was done to the document; else absent. */
  readonly update?: UpdateDescription
  /** True where the library derived the change (a foreign-key cascade, say) instead of reading it from the log. */
  readonly synthetic?: true
  /**
   * MongoDB with `log: 'oplog'`: a majority of the set was not known to have the write when it was read, so that a failover may roll
   * it back; a `gap` of reason `source-rewound` then says so. Absent where a majority has it.
   */
  readonly uncommitted?: true
}

/** What an update did to a MongoDB document, as the server describes it. */
export interface UpdateDescription {
  /** The new values by their paths. */
  readonly updatedFields: Record<string, unknown>
  /** Paths of the fields that are gone. */
  readonly removedFields: readonly string[]
  /** Arrays that were cut: the elements from `newSize` on are gone. */
  readonly truncatedArrays: readonly { readonly field: string; readonly newSize: number }[]
}

/** A new row. */
export interface InsertChange<T extends object = Row> extends Change<T> {
  readonly op: 'insert'
  readonly before: null
  readonly after: T
  readonly changed: null
}

/** A row of a snapshot. */
export interface ReadChange<T extends object = Row> extends Change<T> {
  readonly op: 'read'
  readonly before: null
  readonly after: T
  readonly changed: null
}

/** Columns of a row changed. */
export interface UpdateChange<T extends object = Row> extends Change<T> {
  readonly op: 'update'
  readonly after: T
}

/** A whole document was replaced. */
export interface ReplaceChange<T extends object = Row> extends Change<T> {
  readonly op: 'replace'
  readonly after: T
}

/** A row is gone. */
export interface DeleteChange<T extends object = Row> extends Change<T> {
  readonly op: 'delete'
  readonly after: null
  readonly changed: null
}

/**
 * A whole table was emptied (`truncate`), is gone (`drop`), or has another name (`rename`). A `truncate` with `synthetic: true` says
 * that rows of the table changed which the log does not hold: read it anew.
 */
export interface TableChange<T extends object = Row> extends Change<T> {
  readonly op: 'truncate' | 'drop' | 'rename'
  /** Only for a `truncate` with `synthetic: true`: no other row than the one with this key is gone, if there was one. */
  readonly key: Partial<T> | null
  readonly before: null
  readonly after: null
  readonly changed: null
}

/** Every kind of change of one row type; `op` tells them apart. */
export type AnyChange<T extends object = Row> =
  InsertChange<T> | ReadChange<T> | UpdateChange<T> | ReplaceChange<T> | DeleteChange<T> | TableChange<T>

/** A name as a literal, or `string` where it is a pattern. */
type Literal<Name extends string> = Name extends `${string}${'*' | '?'}${string}` ? string : Name

/** The names that changes of a table carry. */
type NamedTable<Name extends string> = Name extends `${infer Database}.${infer Table}`
  ? { readonly database: Literal<Database>; readonly table: Literal<Table> }
  : unknown

/** A schema whose rows are objects; interfaces have no index signature, so `Schema` itself would refuse them. */
export type SchemaOf<S> = { [Name in keyof S]: object }

/** The changes of a schema's tables: `op`, `table` and `database` tell them apart. */
export type ChangeOf<S extends SchemaOf<S>, Name extends keyof S = keyof S> = {
  [K in Name & string]: AnyChange<S[K]> & NamedTable<K>
}[Name & string]

/** Changes may be missing: the log no longer holds them, or they could not be decoded. */
export interface Gap {
  /** The source's name. */
  readonly source: string
  /** Position before it; `null` where unknown. */
  readonly from: string | null
  /** Position after it; `null` where unknown. */
  readonly to: string | null
  /** `database.table` names affected, or `'*'`. */
  readonly tables: readonly string[] | '*'
  /** Why changes may be missing. */
  readonly reason: 'log-purged' | 'history-lost' | 'source-rewound' | 'undecodable' | 'source-replaced'
}

/** A statement changed a definition. */
export interface SchemaChange {
  /** The source's name. */
  readonly source: string
  /** Database (schema) name. */
  readonly database: string
  /** Table name; `null` where the statement concerns a whole database. */
  readonly table: string | null
  /** The statement as the log holds it; MongoDB's event as JSON; `null` where the log holds none. */
  readonly statement: string | null
  /** Position after it. */
  readonly position: string
}

/** How far a snapshot has come: when a table is begun, once a second while it is read, and at its end. */
export interface SnapshotProgress {
  /** The source's name. */
  readonly source: string
  /** Names the snapshot; the ids of its rows begin with it. */
  readonly id: string
  /** The table, as `database.table`; `null` where there was none to read. */
  readonly table: string | null
  /** Rows of it that were handed over; 0 where it is begun, or begun anew. */
  readonly rows: number
  /** About how many it has; `null` where the source has no estimate. */
  readonly estimatedRows: number | null
  /** The table has been read to its end. */
  readonly done: boolean
  /** Tables of this snapshot that are still to be read, this one included unless it is done. */
  readonly remaining: number
}

/** How one source is doing. */
export interface SourceHealth {
  /**
   * What it is doing. `snapshotting`: changes arrive, and rows of tables between them. `polling`: it is asked for changes, because its log
   * is not read; see `capture`. `failed`: it has given up; see `lastError`.
   */
  readonly state:
    'connecting' | 'snapshotting' | 'streaming' | 'polling' | 'reconnecting' | 'stopped' | 'failed'
  /** Everything the source committed before this instant (ms since epoch, local clock) has been delivered. */
  readonly freshUntil: number | null
  /** ms between commit and delivery of the newest change; never negative. */
  readonly lagMs: number | null
  /** Round trip of the last heartbeat, in ms. */
  readonly heartbeatMs: number | null
  /** How often the connection was made again after it had broken. */
  readonly reconnects: number
  /** Share of the time since start in which the source was streaming, 0 to 1. */
  readonly uptime: number
  /** The newest error, also one that was mended since. */
  readonly lastError: StreamerError | null
  /** The snapshot that is under way; `null` where none is. */
  readonly snapshot: Omit<SnapshotProgress, 'source' | 'done'> | null
}

/** How the streamer is doing. */
export interface Health {
  /** `healthy`: every source streams. `degraded`: some do. `down`: none does. */
  readonly status: 'healthy' | 'degraded' | 'down' | 'stopped'
  /** Each source by its name. */
  readonly sources: Readonly<Record<string, SourceHealth>>
}

/** Proof that a source lives. */
export interface Heartbeat {
  /** The source's name. */
  readonly source: string
  /** Everything the source committed before this instant (ms since epoch, local clock) has been delivered. */
  readonly freshUntil: number
  /** Round trip, in ms. */
  readonly roundTripMs: number
  /** Position that was reached. */
  readonly position: string
}

/** The connection to a source broke, or could not be made; it will be tried again. */
export interface Disconnect {
  /** The source's name. */
  readonly source: string
  /** Why. */
  readonly error: StreamerError
  /** When the next attempt begins, in ms from now. */
  readonly retryInMs: number
  /** Which attempt that will be; counts from 1. */
  readonly attempt: number
}

/** The connection to a source was made again; reading goes on where it stopped. */
export interface Reconnect {
  /** The source's name. */
  readonly source: string
  /** The attempt that succeeded. */
  readonly attempt: number
  /** How long the source was away, in ms. */
  readonly downMs: number
}

/** TLS towards a source. */
export interface TlsConfig {
  /** PEM file or PEM text of the authorities to trust; default: the system's. */
  ca?: string
  /** PEM file or PEM text of the client's certificate. */
  cert?: string
  /** PEM file or PEM text of the client's key. */
  key?: string
  /** Default true. `false` encrypts without verifying, and says so in the log at every start. */
  verify?: boolean
}

interface SourceCommon {
  /** Tables as `database.table`; `*` and `?` match, a leading `!` excludes. Default: all of the URL's database. */
  tables?: readonly string[]
  /** Where to begin: `now` (default), `earliest`, or a `Change.position`, behind which reading goes on. */
  from?: 'now' | 'earliest' | (string & {})
  /**
   * Rows that tables hold already, as changes with `op: 'read'`. `never` (default): changes only. `initial`: where no checkpoint
   * exists. `always`: at every start. `when-needed`: `initial`, and again after a gap; see docs/snapshots.md.
   */
  snapshot?: 'never' | 'initial' | 'always' | 'when-needed'
  /** Most rows of a snapshot per second. Default: as fast as they come. */
  snapshotRate?: number
  /** Default: verified TLS for hosts other than loopback; `false` for plain text, said once in the log. */
  tls?: TlsConfig | boolean
  /**
   * Where changes are taken from. `log`: the server's log, or an error. `poll`: each table is asked for what is new. `auto` (default):
   * the log where it can be had, else polling, with a warning in the log; and over to the log by itself as soon as it can be had.
   *
   * A polled change is the newest version of a row: `op` is `update`, or `insert` where only new rows can be seen; `before`,
   * `changed` and `transaction` are `null`. Versions in between are not seen, and deleted rows only with `poll.sweepMs`; see
   * docs/polling.md. `health()` says `polling`, and nothing is cached.
   */
  capture?: 'auto' | 'log' | 'poll'
  /** How a source is polled, while it is. */
  poll?: PollConfig
}

/** How tables are polled. A column that the server sets is found by itself; one that the application keeps has to be named. */
export interface PollConfig {
  /** The column by which every table is polled that has it: a time or a whole number that grows with each change, indexed. */
  column?: string
  /** Columns by `database.table`; they come before `column`. */
  columns?: Readonly<Record<string, string>>
  /** Shortest wait between two polls of a table, in ms. 10 to 3600000, default 100. */
  minIntervalMs?: number
  /** Longest wait, where nothing changes, in ms. Up to 86400000, default 5000. */
  maxIntervalMs?: number
  /**
   * How much older than its commit the value of a row's column may be, in ms: the longest transaction, and the difference between the
   * clocks that set it. What is older when it is committed is missed. 0 to 86400000, default 5000.
   */
  overlapMs?: number
  /** How often deleted rows are looked for, by reading all keys, in ms. 100 to 86400000. Default: never. */
  sweepMs?: number
  /** Most rows of a table that is read and compared as a whole, because it has no column to poll it by. 0 to 1000000, default 10000. */
  compareRows?: number
  /** How often it is tried whether the log can be had by now, in ms. 100 to 86400000, default 30000. */
  checkMs?: number
}

/** A MySQL or MariaDB server. */
export interface MysqlSource extends SourceCommon {
  /**
   * `mysql://user:password@host:3306/database` or `mariadb://…`. Several hosts (`@db1,db2:3307/`) are a server and those that replicate it: the
   * first that answers is read, and asked by `query()` and `execute()`; where it dies, the next one.
   */
  url: string
  /** Replica id that this reader shows to the server; default: random, checked to be free. */
  serverId?: number
  /** How 64-bit integers outside the safe range arrive. `bigint` (default): a `bigint`, and a `number` inside it. `string`, or `always-bigint`. */
  integers?: 'bigint' | 'string' | 'always-bigint'
  /** `date` (default): `Date`, microseconds lost. `string`: exact text, as the server prints it, in UTC for TIMESTAMP. */
  dates?: 'date' | 'string'
}

/** A MongoDB replica set or sharded cluster, 6.0 or later. Needs the package `bson`, which `mongodb` brings along. */
export interface MongodbSource extends SourceCommon {
  /** `mongodb://user:password@host1,host2/database?replicaSet=…` or `mongodb+srv://…`. */
  url: string
  /**
   * `change-stream` (default): writes that a majority of the set has. `oplog`: sooner, of a replica set only, and may show a write that
   * a failover rolls back (`Change.uncommitted`). Positions of one are none of the other.
   */
  log?: 'change-stream' | 'oplog'
  /** Aggregation stages that the server runs on each event. They must leave `_id` alone. Not with `log: 'oplog'`. */
  pipeline?: readonly object[]
  /**
   * The document after an update: `default`: only what was set whole. `updateLookup`: as it is when the server looks, or, with
   * `log: 'oplog'`, when this library does. `whenAvailable`, `required`: the post-image; not with `log: 'oplog'`.
   */
  fullDocument?: 'default' | 'updateLookup' | 'whenAvailable' | 'required'
  /** The document before a change, of a collection that keeps pre-images: `off` (default), `whenAvailable`, `required`. Not with `log: 'oplog'`. */
  fullDocumentBeforeChange?: 'off' | 'whenAvailable' | 'required'
}

/**
 * A SQLite database in a file. Changes of every process are seen: triggers write them into a change log in the same database, which
 * the source puts there when it starts, and `npx ultimate-streaming sqlite uninstall <file>` takes out again. `database` is `main`.
 */
export interface SqliteSource extends Omit<SourceCommon, 'tls' | 'capture' | 'poll'> {
  /** Its change log can always be had. */
  capture?: 'auto' | 'log'
  /** `sqlite:path/to/file.db` (relative to the working directory) or `sqlite:///absolute/path/to/file.db`. */
  url: string
}

/** A source of changes. */
export type SourceConfig = MysqlSource | MongodbSource | SqliteSource

interface StreamerOptions {
  /**
   * Where positions are kept, so that a new process goes on where this one stopped: a directory (a file for each source), a
   * `redis://` or `rediss://` URL, or `false` (default) for memory only. Stored after listeners have returned, or after the promise
   * of `consume()` has resolved. One process at a time may use it (`ERR_STREAMER_CHECKPOINT_LOCKED`).
   */
  checkpoint?:
    | string
    | {
        /** The directory or URL. */
        url: string
        /** Longest time between two writes while changes arrive, in ms. Default 1000. */
        intervalMs?: number
        /** What keys in Redis begin with. Default `ultimate-streaming:checkpoint:`. */
        prefix?: string
      }
    | false
  /** Proof of life. */
  heartbeat?: {
    /** How often an idle source shows that it lives, in ms. Default 1000. */
    intervalMs?: number
    /** Silence after which the link counts as dead, in ms. Default 3 intervals. */
    timeoutMs?: number
  }
  /** Exponential backoff with full jitter. */
  reconnect?: {
    /** Longest first wait. Default 50. */
    initialMs?: number
    /** Longest wait of all. Default 30000. */
    maxMs?: number
    /** Attempts in a row before the source fails. Default: without end. */
    attempts?: number
  }
  /** How changes are handed over. */
  delivery?: {
    /** Most changes in one batch. Default 256. */
    batchSize?: number
    /** Bytes waiting in memory before reading pauses. Default 16 MiB. */
    bufferBytes?: number
  }
  /**
   * Answers reads from memory, as new as the last change that was delivered; see docs/cache.md. `true` takes the defaults; `false`,
   * the default, asks the database each time.
   */
  cache?: boolean | CacheConfig
  /** Connections of each source for `query()`, `find()` and `execute()`. */
  pool?: PoolConfig
  /** Called with each log record, pino-shaped; default: silent. Secrets and row values never appear. */
  logger?: Logger
}

/** What reads may keep in memory. */
export interface CacheConfig {
  /** Bytes of each source's cache, at least 1 MiB. Default 64 MiB. */
  maxBytes?: number
  /** How long a value is kept where nothing changes it, give or take a tenth. Default 300000. */
  ttlMs?: number
  /**
   * What reads do while a source is not followed. `bypass` (default) asks the database. `stale` answers from memory, and marks rows
   * with `rows[Symbol.for('ultimate-streaming.stale')] === true`. `refuse` rejects with `ERR_STREAMER_CONNECTION_LOST`.
   */
  whenDisconnected?: 'bypass' | 'stale' | 'refuse'
  /**
   * A Redis that processes share: `redis://user:password@host:6379/0`, `rediss://` for TLS. MySQL with GTIDs and MariaDB. Where it
   * fails, reads go on without it. Values of `wrap()` are shared only with an `encryptionKey`.
   */
  redis?:
    | string
    | {
        url: string
        /** What keys begin with. Default `ultimate-streaming:cache:`. */
        prefix?: string
        /** For `rediss://`: authorities to trust, and a client's certificate. The server is always verified. */
        tls?: TlsConfig | boolean
        /** 32 bytes in base64: values are encrypted and authenticated with it (AES-256-GCM). */
        encryptionKey?: string
      }
}

/** What a query may take as a parameter; a `Date` is sent in UTC. */
export type QueryParameter = null | undefined | boolean | number | bigint | string | Date | Uint8Array

/** Connections of each source for `query()`, `find()` and `execute()`; none is opened before it is needed. */
export interface PoolConfig {
  /**
   * Most connections. 1 to 1000; default 10, and 4 of SQLite. MySQL and MariaDB: as many again for `execute()`. MongoDB: to each server;
   * `maxPoolSize` in the URL comes first.
   */
  maxConnections?: number
  /** Longest wait for a connection, in ms: then `ERR_STREAMER_SERVER_BUSY`. 1 to 3600000, default 10000. */
  waitMs?: number
  /** Longest wait for an answer, in ms: then `ERR_STREAMER_TIMEOUT`. 1 to 3600000, default 60000. */
  queryMs?: number
}

/** How a query is asked. */
export interface QueryOptions {
  /** Name of the source; needed where there are several. */
  source?: string
  /** `false`: ask the database. */
  cache?: boolean
  /** How long the answer may be kept; default: `cache.ttlMs`. */
  ttlMs?: number
  /** Be at least as new as this position: of a change, or of `execute()`. */
  after?: string
  /** Rejects with the signal's reason, and gives the query up; who else waits for its answer gets one. */
  signal?: AbortSignal
}

/** How documents are asked for. */
export interface FindOptions extends QueryOptions {
  /** Fields, as the driver takes them. */
  projection?: Readonly<Record<string, unknown>>
  /** Order by fields: `{ createdAt: -1 }`. */
  sort?: Readonly<Record<string, 1 | -1>>
  /** Most documents; 0 and absent: all. */
  limit?: number
  /** Documents to leave out first. */
  skip?: number
}

/** What `execute()` resolves with. */
export interface ExecuteResult {
  affectedRows: number
  /** The last AUTO_INCREMENT value, or rowid; `null` where there is none. */
  insertId: number | bigint | null
  /** A position that holds the change; `null` where the server has no GTIDs, and for a file without a change log. */
  position: string | null
}

/**
 * A table, as `table` or `database.table`, or one row of it by its key or by columns: integers in SQL, any value of a field in
 * MongoDB (`_id`, such as an ObjectId, where it is not a plain object).
 */
export interface CacheDependency {
  table: string
  key?: unknown
}

/** Figures since the start, of all sources together. */
export interface CacheStats {
  /** Reads that memory answered. */
  hits: number
  /** Reads that memory could not answer. */
  misses: number
  /** Reads of what may not be cached, or not now. */
  bypassed: number
  /** `hits` as a share of `hits` and `misses`. */
  hitRatio: number
  entries: number
  bytes: number
  /** Queries and loads that were made. */
  loads: number
  /** Reads that waited for the query of another. */
  coalesced: number
  /** Entries that were found to be touched by a change. */
  invalidations: number
  /** Values that were not kept, because a change came in between. */
  rejectedFills: number
  /** Questions to the server about what is visible. */ proofs: number
  /** Reads that memory answered although the source was not followed (`whenDisconnected: 'stale'`). */ stale: number
  /** Entries that were renewed before their time ended, because they were still asked for. */ renewed: number
  /** Look-ups that were asked together with others, as one `IN (…)`. */ gathered: number
  /** Answers of the database that are not proved to hold everything that was delivered. */ unproved: number
  /** Reads that memory could not answer, and Redis could. */ redisHits: number
  /** Reads that neither could answer: nothing was there that may be served, or Redis was not to be had. */ redisMisses: number
  /** Entries in Redis that were altered, or of another version; they are dropped. */ redisRefused: number
  /** Reads and writes of Redis that did not come about. */ redisFailures: number
  /** Values that were stored in Redis. */ redisWrites: number
}

/** Values that are never older than the last change that was delivered. */
export interface Cache {
  /**
   * The kept value, or what `load` resolves with: it runs once, however many callers wait, and its value is kept until a change
   * touches what it depends on. Values are copied as `structuredClone` copies them. Without `dependsOn`, only time ends it.
   */
  wrap<T>(
    key: string,
    load: () => Promise<T> | T,
    options?: { dependsOn?: readonly CacheDependency[]; ttlMs?: number; source?: string }
  ): Promise<T>
  /** Drops the value of a key (1, or 0 where there was none), or everything that depends on a table or row. */
  invalidate(target: string | CacheDependency, options?: { source?: string }): Promise<number>
  /** Drops everything. */
  clear(): Promise<void>
  stats(): CacheStats
  /** Whether a statement's answers are kept, what they depend on, or why they are not. With `filter`: those of a `find`. */
  explain(
    target: string,
    options?: { source?: string; filter?: Readonly<Record<string, unknown>> } & Pick<
      FindOptions,
      'projection' | 'sort' | 'limit' | 'skip'
    >
  ): Promise<{ cached: true; dependsOn: string[]; columns: string[] } | { cached: false; reason: string }>
}

/** What `logger` must offer; pino and its likes do. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** The whole configuration. */
export type StreamerConfig = StreamerOptions &
  (
    | {
        /** The only source; its name is `default`. */
        source: string | SourceConfig
        sources?: undefined
      }
    | {
        source?: undefined
        /** Several sources by name. */
        sources: Readonly<Record<string, string | SourceConfig>>
      }
  )

/** Every code that a `StreamerError` carries; `docs/errors.md` explains each. */
export type ErrorCode =
  | 'ERR_STREAMER_CONFIG_INVALID'
  | 'ERR_STREAMER_HOST_UNKNOWN'
  | 'ERR_STREAMER_CONNECT_FAILED'
  | 'ERR_STREAMER_CONNECTION_LOST'
  | 'ERR_STREAMER_TIMEOUT'
  | 'ERR_STREAMER_PROTOCOL_UNEXPECTED'
  | 'ERR_STREAMER_TLS_UNAVAILABLE'
  | 'ERR_STREAMER_TLS_CERTIFICATE_REJECTED'
  | 'ERR_STREAMER_TLS_FAILED'
  | 'ERR_STREAMER_AUTH_REJECTED'
  | 'ERR_STREAMER_DATABASE_UNKNOWN'
  | 'ERR_STREAMER_DATABASE_INVALID'
  | 'ERR_STREAMER_DATABASE_READ_ONLY'
  | 'ERR_STREAMER_TABLE_UNKNOWN'
  | 'ERR_STREAMER_TABLE_UNPOLLABLE'
  | 'ERR_STREAMER_GRANT_MISSING'
  | 'ERR_STREAMER_SERVER_SETTING_UNSUITABLE'
  | 'ERR_STREAMER_SERVER_UNSUPPORTED'
  | 'ERR_STREAMER_SERVER_BUSY'
  | 'ERR_STREAMER_SERVER_ID_TAKEN'
  | 'ERR_STREAMER_REPLICA_STALLED'
  | 'ERR_STREAMER_POSITION_INVALID'
  | 'ERR_STREAMER_POSITION_LOST'
  | 'ERR_STREAMER_CHECKPOINT_FAILED'
  | 'ERR_STREAMER_CHECKPOINT_INVALID'
  | 'ERR_STREAMER_CHECKPOINT_LOCKED'
  | 'ERR_STREAMER_LOG_UNDECODABLE'
  | 'ERR_STREAMER_LOG_CORRUPT'
  | 'ERR_STREAMER_SERVER_REFUSED'
  | 'ERR_STREAMER_LIMIT_EXCEEDED'
  | 'ERR_STREAMER_STOPPED'
  | 'ERR_STREAMER_HANDLER_FAILED'
  | 'ERR_STREAMER_ARGUMENT_INVALID'
  | 'ERR_STREAMER_ADDON_MISSING'
  | 'ERR_STREAMER_ADDON_MISMATCHED'
  | 'ERR_STREAMER_PACKAGE_MISSING'
  | 'ERR_STREAMER_INTERNAL'

/** Every code, in the order of `docs/errors.md`. Frozen. */
export const errorCodes: readonly ErrorCode[]

/** The version of this package. */
export const version: string

/** What every failure of this library is. */
export class StreamerError extends Error {
  constructor(
    message: string,
    facts: {
      code: ErrorCode
      retry: 'automatic' | 'operator' | 'never'
      details?: Record<string, unknown>
      cause?: unknown
    }
  )
  readonly name: 'StreamerError'
  /** Stable; listed in docs/errors.md. */
  readonly code: ErrorCode
  /** What helps: the library retries by itself, an operator must act, or nothing will. */
  readonly retry: 'automatic' | 'operator' | 'never'
  /** Facts for programs: a table's name, a setting, a server's error number. Never a value of a row, never a secret. */
  readonly details: Readonly<Record<string, unknown>>
  /** What `JSON.stringify` and loggers keep. */
  toJSON(): {
    name: string
    code: ErrorCode
    retry: 'automatic' | 'operator' | 'never'
    message: string
    details: Readonly<Record<string, unknown>>
  }
}

/**
 * The value of a JSON column after a partial update whose base the log does not hold (MySQL with
 * `binlog_row_value_options = PARTIAL_JSON` and a row image without the old document): the steps that were applied, in order.
 */
export class JsonDifference {
  constructor(operations: JsonDifference['operations'])
  readonly operations: readonly {
    readonly op: 'replace' | 'insert' | 'remove'
    /** A JSON path, as MySQL writes it: `$.a[0]`. */
    readonly path: string
    /** Absent for `remove`. */
    readonly value?: unknown
  }[]
}

/** The events of a streamer, and what their listeners are called with. */
export interface StreamerEvents<S extends SchemaOf<S> = Schema> {
  /** Every change, in order. */
  change: [change: ChangeOf<S>]
  insert: [change: Extract<ChangeOf<S>, { op: 'insert' }>]
  update: [change: Extract<ChangeOf<S>, { op: 'update' }>]
  replace: [change: Extract<ChangeOf<S>, { op: 'replace' }>]
  delete: [change: Extract<ChangeOf<S>, { op: 'delete' }>]
  /** A row of a snapshot. */
  read: [change: Extract<ChangeOf<S>, { op: 'read' }>]
  /** Many changes in one call, in order: the cheapest way to take a flood. At most `delivery.batchSize`. */
  batch: [changes: readonly ChangeOf<S>[]]
  /** A definition changed; the changes that follow have the new columns. */
  schema: [change: SchemaChange]
  /** Changes may be missing. */
  gap: [gap: Gap]
  /** A snapshot has come further. */
  snapshot: [progress: SnapshotProgress]
  /** The health of a source changed. */
  health: [health: Health]
  /** An idle source shows that it lives. */
  heartbeat: [beat: Heartbeat]
  /** A connection broke; it is made again by itself. */
  disconnect: [disconnect: Disconnect]
  /** A connection was made again; nothing was missed. */
  reconnect: [reconnect: Reconnect]
  /** A source has given up, the start by itself failed, or a listener's promise was rejected. Without a listener it is thrown. */
  error: [error: StreamerError]
  /** Every source streams for the first time. */
  ready: []
  /** The streamer has stopped. */
  stop: []
}

/**
 * Follows databases and emits what is committed in them.
 *
 * ```js
 * new Streamer('mysql://user:password@host/shop').on('change', change => console.log(change.op, change.after))
 * ```
 *
 * A listener that throws surfaces as an uncaught exception, as in any callback of Node.js; the other listeners and changes still
 * get their turn. A listener whose promise is rejected becomes an `error` event (`ERR_STREAMER_HANDLER_FAILED`, with the
 * rejection as `cause`). Listeners are not awaited: `changes()` is the way to process one change after the other.
 */
export class Streamer<S extends SchemaOf<S> = Schema> extends EventEmitter<StreamerEvents<S>> {
  /**
   * Checks the configuration and throws `StreamerError` (`ERR_STREAMER_CONFIG_INVALID`, all problems at once, each with its path
   * in `details.problems`). Nothing connects yet: that begins with `start()`, with `changes()`, or by itself when the first
   * listener for `change`, `insert`, `update`, `replace`, `delete`, `read`, `batch`, `schema` or `gap` is added.
   */
  constructor(config: string | SourceConfig | StreamerConfig)
  /**
   * Resolves once every source streams: a write made after that will be seen. A snapshot goes on afterwards. Every call returns the same promise. Rejects with
   * the `StreamerError` that stands in the way, and after `stop()` with `ERR_STREAMER_STOPPED`. A streamer whose start has failed
   * stays so: mend what the error names and make a new one.
   */
  start(): Promise<this>
  /**
   * Delivers what was read to listeners, waits for the batch that a consumer has in hand, closes the connections, stores the
   * checkpoints, and resolves; takes no longer than `timeoutMs` (default 5000), after which what is left is not delivered. Rejects
   * with `ERR_STREAMER_CHECKPOINT_FAILED` where the last positions could not be stored; everything is closed then as well.
   * Idempotent: every call returns the same promise. A handler of `consume()` must not await it: it would wait for itself.
   */
  stop(options?: { timeoutMs?: number }): Promise<void>
  /** `stop()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>
  /** A started streamer keeps the process alive (the default). */
  ref(): this
  /** A started streamer does not keep the process alive. */
  unref(): this

  /**
   * Changes as an async iterator, reading only as fast as the loop takes them: what it has not asked for slows the server's
   * socket instead of filling memory, and holds back the listeners of this streamer too. It begins with this call, starts the
   * streamer, ends when the streamer is stopped, and rejects with an error that ends a source, or with the signal's reason. An
   * iterator that is not read any more must be ended with `return()` (leaving a `for await` loop does that).
   *
   * A change counts as handled when the next one is asked for: with checkpoints, the one in hand when a loop is left or the
   * streamer is stopped is delivered again.
   *
   * `tables` takes the same patterns as the configuration; a pattern without a dot is a table of any database.
   */
  changes<K extends keyof S & string, O extends Operation = Operation>(options?: {
    tables?: readonly K[]
    ops?: readonly O[]
    signal?: AbortSignal
  }): AsyncIterableIterator<ChangeWithOperation<ChangeOf<S, K>, O>>
  changes<O extends Operation = Operation>(options: {
    tables: readonly string[]
    ops?: readonly O[]
    signal?: AbortSignal
  }): AsyncIterableIterator<ChangeWithOperation<ChangeOf<S>, O>>

  /**
   * Hands batches to `handler`, one at a time and in order, and stores the position only after its promise has resolved: at
   * least once. Starts the streamer. A batch whose promise is rejected is handed over again, after a wait that doubles from 100 ms
   * to 30 s (with jitter); when the retries are used up it goes to `deadLetter`, and where there is none, the streamer stops with an
   * `error` event (`ERR_STREAMER_HANDLER_FAILED`), its checkpoint in front of that batch.
   *
   * The array is the handler's own: it may change it. `stop()` of what `consume()` returns takes nothing more, and resolves when
   * what was read for it is handled, or has failed once more; its handler must not await it. What it leaves undone is neither
   * acknowledged nor lost, whoever else receives: the next `consume()` that wants it gets it first, or it comes again at the next
   * start. Until then the checkpoint stays in front of it.
   *
   * @throws StreamerError `ERR_STREAMER_ARGUMENT_INVALID`, `ERR_STREAMER_STOPPED`
   */
  consume(
    handler: (batch: readonly ChangeOf<S>[]) => Promise<void> | void,
    options?: {
      /** The same patterns as in the configuration; a pattern without a dot is a table of any database. */
      tables?: readonly string[]
      /** Most changes in a batch. Default 256. */
      batchSize?: number
      /** About how many bytes a batch may take, in the form in which changes leave the engine. Default: no limit. */
      batchBytes?: number
      /** How long a batch that is not full waits for more. Default 0: what is there is handed over at once. */
      maxWaitMs?: number
      /** How often a batch is tried again. Default 5; `Infinity` never gives up. */
      retries?: number
      /** Takes a batch whose retries are used up; when its promise has resolved, the batch counts as handled. */
      deadLetter?: (batch: readonly ChangeOf<S>[], error: unknown) => Promise<void> | void
    }
  ): { stop(): Promise<void> }

  /**
   * Reads the rows that tables hold now, as changes with `op: 'read'`, beside the log and joined with it; see docs/snapshots.md.
   * Resolves when all of them were handed over. `tables` takes the same patterns as the configuration, among the tables that the
   * source follows; without it all of them are read. Starts the streamer. With checkpoints, what is left is read after a restart.
   * Rejects where the source fails or the streamer is stopped before.
   *
   * @throws StreamerError `ERR_STREAMER_ARGUMENT_INVALID`, `ERR_STREAMER_LIMIT_EXCEEDED`, `ERR_STREAMER_STOPPED`
   */
  snapshot(tables?: string | readonly string[], options?: { source?: string }): Promise<void>

  /** What reads keep in memory. */
  readonly cache: Cache
  /**
   * Rows of a query, typed as those of the stream; from memory where `cache` is configured and the statement allows it. With a
   * cache, they hold every change that was delivered before the call. `?` stands for a parameter. Every caller gets rows of its own.
   *
   * @throws StreamerError `ERR_STREAMER_SERVER_REFUSED`, `ERR_STREAMER_SERVER_BUSY`, `ERR_STREAMER_TIMEOUT`,
   * `ERR_STREAMER_CONNECTION_LOST`, `ERR_STREAMER_ARGUMENT_INVALID`, `ERR_STREAMER_POSITION_INVALID`
   */
  query<T extends Row = Row>(
    sql: string,
    params?: readonly QueryParameter[],
    options?: QueryOptions
  ): Promise<T[]>
  /**
   * Documents of a MongoDB collection, decoded as those of the stream; from memory where `cache` is configured and the filter
   * allows it. `namespace`: `database.collection`, or a collection of the URL's database. Every caller gets documents of its own.
   *
   * @throws StreamerError as `query`
   */
  find<T extends Row = Row>(
    namespace: string,
    filter?: Readonly<Record<string, unknown>>,
    options?: FindOptions
  ): Promise<T[]>
  /**
   * The position that a source has reached: what was delivered lies before it. For `after`, in another process too; `null` before
   * the source streams.
   */
  position(source?: string): string | null
  /** Runs a statement that changes something, through the pool; not of MongoDB, which is written to by its driver. */
  execute(
    sql: string,
    params?: readonly QueryParameter[],
    options?: { source?: string }
  ): Promise<ExecuteResult>

  /** How the streamer and each source are doing now. */
  health(): Health
  /** Prometheus text format. */
  metrics(): string
}

/** The changes of a union whose `op` may be one of `O`. */
type ChangeWithOperation<C extends Change<any>, O extends Operation> = C extends unknown
  ? C['op'] & O extends never
    ? never
    : C
  : never
