// One class and one engine, however the package is loaded.
import core from './index.js'

export const { JsonDifference, Streamer, StreamerError, errorCodes, version } = core
