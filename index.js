'use strict'

const { version } = require('./package.json')
const { StreamerError, errorCodes } = require('./lib/errors')
const { JsonDifference } = require('./lib/json')
const { Streamer } = require('./lib/streamer')

module.exports = { JsonDifference, Streamer, StreamerError, errorCodes, version }
