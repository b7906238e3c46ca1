// Takes changes one by one, reading only as fast as the loop goes.
//   node examples/iterate.mjs mysql://user:password@host/shop

import { Streamer } from 'ultimate-streaming'

const streamer = new Streamer(process.argv[2] ?? 'mysql://root@127.0.0.1/shop')
const leaving = new AbortController()
process.once('SIGINT', () => leaving.abort())

try {
  for await (const change of streamer.changes({ ops: ['insert', 'update'], signal: leaving.signal })) {
    console.log(change.op, change.table, change.after)
  }
} catch (error) {
  if (!leaving.signal.aborted) throw error
} finally {
  await streamer.stop()
}
