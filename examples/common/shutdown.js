'use strict'

/** Calls `stop` once, at the first Ctrl-C or SIGTERM; the process then ends by itself. @param {() => Promise<void>} stop */
function onShutdown(stop) {
  let isStopping = false
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.on(signal, () => {
      if (isStopping) return
      isStopping = true
      stop().catch(error => {
        console.error(error)
        process.exitCode = 1
      })
    })
  }
}

module.exports = { onShutdown }
