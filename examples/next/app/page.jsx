'use client'

import { useEffect, useState } from 'react'

function reduced(orders, { key, after }) {
  const next = new Map(orders)
  if (after) next.set(String(key.id), after)
  else next.delete(String(key.id))
  return next
}

export default function Page() {
  const [orders, setOrders] = useState(new Map())
  const [state, setState] = useState('connecting')

  useEffect(() => {
    const source = new EventSource('/changes')
    let waiting = null
    // Changes first, then the rows, then the changes that came meanwhile: nothing falls in between.
    source.onopen = async () => {
      waiting = []
      const rows = await (await fetch('/orders')).json()
      const loaded = new Map(rows.map(row => [String(row.id), row]))
      setOrders(waiting.reduce(reduced, loaded))
      waiting = null
      setState('live')
    }
    source.addEventListener('change', ({ data }) => {
      const change = JSON.parse(data)
      if (waiting) waiting.push(change)
      else setOrders(orders => reduced(orders, change))
    })
    source.onerror = () => setState('reconnecting')
    return () => source.close()
  }, [])

  return (
    <main>
      <h1>Orders</h1>
      <p id="state">{state}</p>
      <table>
        <tbody id="rows">
          {[...orders.values()].reverse().map(({ id, product, total }) => (
            <tr key={id} id={`order-${id}`}>
              <td>{id}</td>
              <td>{product}</td>
              <td>{total}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </main>
  )
}
