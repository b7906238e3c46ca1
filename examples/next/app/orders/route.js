import access from '../../../common/access.js'
import json from '../../../common/json.js'
import shop from '../../../common/shop.js'
import { open } from '../../lib/shop.js'

export const dynamic = 'force-dynamic'

export async function GET(request) {
  if (!access.mayWatch(request.cookies.get('token')?.value)) return new Response(null, { status: 401 })
  const { database } = await open()
  const rows = await database('orders')
  return new Response(json.toJson(rows.map(shop.published)), {
    headers: { 'content-type': 'application/json' },
  })
}
