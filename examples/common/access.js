'use strict'

// Who may see changes. A stand-in for the session of your application: where ACCESS_TOKEN is set, its value is asked for.

const { timingSafeEqual } = require('node:crypto')

/** @param {string | null | undefined} token */
function mayWatch(token) {
  const expected = process.env.ACCESS_TOKEN
  if (expected === undefined) return true
  const [theirs, ours] = [Buffer.from(token ?? ''), Buffer.from(expected)]
  return theirs.length === ours.length && timingSafeEqual(theirs, ours)
}

/** The token of a request: EventSource sends cookies, but no headers of yours. @param {import('node:http').IncomingMessage} request */
function tokenOf(request) {
  return /(?:^|;\s*)token=([^;]*)/.exec(request.headers.cookie ?? '')?.[1]
}

module.exports = { mayWatch, tokenOf }
