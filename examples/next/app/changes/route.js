import access from '../../../common/access.js'
import json from '../../../common/json.js'
import shop from '../../../common/shop.js'
import { open } from '../../lib/shop.js'

export const dynamic = 'force-dynamic'
export const runtime = 'nodejs'

/** What may wait for one browser. */
const LIMIT_BYTES = 256 * 1024

export async function GET(request) {
  if (!access.mayWatch(request.cookies.get('token')?.value)) return new Response(null, { status: 401 })
  const { streamer } = await open()
  const encoder = new TextEncoder()
  let leave = () => {}
  const body = new ReadableStream(
    {
      start(controller) {
        const write = text => {
          // One that takes less than it is sent is disconnected; its EventSource comes back, and loads the rows afresh.
          if (controller.desiredSize <= 0) end()
          else controller.enqueue(encoder.encode(text))
        }
        const send = change => write(`event: change\ndata: ${json.toJson(shop.publishedChange(change))}\n\n`)
        const ping = setInterval(() => write(': ping\n\n'), 15_000)
        const end = () => {
          leave()
          controller.close()
        }
        leave = () => {
          clearInterval(ping)
          streamer.off('change', send)
          streamer.off('stop', end)
        }
        streamer.on('change', send)
        streamer.on('stop', end)
        write('retry: 1000\n\n')
      },
      cancel() {
        leave()
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: LIMIT_BYTES })
  )
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store, no-transform',
      'x-accel-buffering': 'no',
    },
  })
}
