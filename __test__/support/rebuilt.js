'use strict'

// Collections in memory, rebuilt from changes of MongoDB; each change must fit what is there.

const assert = require('node:assert/strict')
const { EJSON } = require('bson')

const text = value => EJSON.stringify(value, { relaxed: false })

/** The holder of a path's last step. */
function holderOf(document, steps) {
  let holder = document
  for (const step of steps.slice(0, -1)) {
    if (holder[step] === undefined || holder[step] === null) holder[step] = {}
    holder = holder[step]
  }
  return holder
}

/** The document after an update, from its description. */
function updated(document, { updatedFields, removedFields, truncatedArrays }) {
  const result = structuredCloneOf(document)
  for (const field of removedFields) {
    const steps = field.split('.')
    delete holderOf(result, steps)[steps.at(-1)]
  }
  for (const { field, newSize } of truncatedArrays) {
    const steps = field.split('.')
    holderOf(result, steps)[steps.at(-1)].length = newSize
  }
  for (const [field, value] of Object.entries(updatedFields)) {
    const steps = field.split('.')
    const holder = holderOf(result, steps)
    while (Array.isArray(holder) && holder.length < Number(steps.at(-1))) holder.push(null)
    holder[steps.at(-1)] = value
  }
  return result
}

/** A copy with its classes. */
function structuredCloneOf(value) {
  if (Array.isArray(value)) return value.map(structuredCloneOf)
  if (value === null || typeof value !== 'object' || Object.getPrototypeOf(value) !== Object.prototype)
    return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, structuredCloneOf(member)]))
}

/** Every path that a description names, as `changed` must tell it. */
const pathsOf = ({ updatedFields, removedFields, truncatedArrays }) =>
  [...Object.keys(updatedFields), ...removedFields, ...truncatedArrays.map(({ field }) => field)].sort()

/** Collections in memory, to which changes are applied; each must fit what is there. */
class Rebuilt {
  collections = new Map()
  documents = 0
  #ids = new Set()

  constructor(hasImages) {
    this.hasImages = hasImages
  }

  apply(change) {
    assert.ok(!this.#ids.has(change.id), `change ${change.id} came twice`)
    this.#ids.add(change.id)
    const { collections } = this
    if (change.op === 'drop') return void collections.delete(change.table)
    if (change.op === 'rename') {
      const to = change.renamedTo.slice(change.database.length + 1)
      collections.set(to, collections.get(change.table) ?? new Map())
      return void collections.delete(change.table)
    }
    if (!collections.has(change.table)) collections.set(change.table, new Map())
    this.documents++
    this.#applyToDocument(change, collections.get(change.table))
  }

  #applyToDocument(change, documents) {
    const key = text(change.key)
    const where = `${change.op} ${change.table} ${key}`
    const held = documents.get(key)
    assert.equal(held === undefined, change.op === 'insert', `${where}: out of order`)
    if (this.hasImages && held !== undefined) assert.deepEqual(change.before, held, `${where}: before`)
    else assert.equal(change.before, null, `${where}: before`)
    if (change.op === 'delete') return void documents.delete(key)
    let image = change.after
    if (change.op === 'update') {
      assert.deepEqual([...change.changed].sort(), pathsOf(change.update), `${where}: changed`)
      image = updated(held, change.update)
      if (this.hasImages) assert.deepEqual(image, change.after, `${where}: the description`)
      else assert.deepEqual(change.after._id, held._id)
    }
    documents.set(key, image)
  }
}

/** Transactions must come whole and with indices without holes; `last` closes them where it can be known. */
function checkTransactions(changes) {
  const seen = new Map()
  let open = null
  for (const { transaction } of changes) {
    if (transaction !== null) {
      const index = seen.get(transaction.id) ?? 0
      assert.ok(index === 0 || open === transaction.id, `transaction ${transaction.id} is interleaved`)
      assert.equal(transaction.index, index, `transaction ${transaction.id}: its index`)
      seen.set(transaction.id, index + 1)
    }
    open = transaction?.id ?? null
  }
  return seen.size
}

module.exports = { Rebuilt, checkTransactions, text }
