'use strict'

// `@powersync/mysql-zongji`.

const { contender } = require('./zongji')

module.exports = contender(() => require('@powersync/mysql-zongji'))
