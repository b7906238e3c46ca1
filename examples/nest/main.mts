// NestJS: the Streamer as a provider, begun and ended with its module.

import 'reflect-metadata'
import type { IncomingMessage, ServerResponse } from 'node:http'
import path from 'node:path'
import { Controller, Get, Header, Injectable, Module, Req, Res, UseGuards } from '@nestjs/common'
import type { CanActivate, ExecutionContext, OnModuleDestroy, OnModuleInit } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { Streamer } from 'ultimate-streaming'
import { mayWatch, tokenOf } from '../common/access.js'
import { Audience } from '../common/audience.js'
import { toJson } from '../common/json.js'
import { openShop, published, publishedChange, url } from '../common/shop.js'

type Order = { id: number | bigint; product: string; total: string; card: string | null }

/** The only Streamer of the process: providers are singletons. */
@Injectable()
class Changes implements OnModuleInit, OnModuleDestroy {
  readonly audience = new Audience()
  readonly streamer = new Streamer<{ 'main.orders': Order }>({ source: { url, tables: ['orders'] } })

  async onModuleInit() {
    this.streamer.on('change', change => this.audience.send('change', publishedChange(change)))
    await this.streamer.start()
  }

  // Called before the server closes, which waits for connections that never end by themselves.
  async onModuleDestroy() {
    this.audience.close()
    await this.streamer.stop()
  }
}

@Injectable()
class Shop implements OnModuleInit, OnModuleDestroy {
  #database: any

  async onModuleInit() {
    this.#database = await openShop()
  }

  orders(): Promise<Order[]> {
    return this.#database('orders')
  }

  async onModuleDestroy() {
    await this.#database.destroy()
  }
}

@Injectable()
class MayWatch implements CanActivate {
  canActivate(context: ExecutionContext) {
    return mayWatch(tokenOf(context.switchToHttp().getRequest()))
  }
}

@Controller()
@UseGuards(MayWatch)
class Orders {
  constructor(
    private readonly shop: Shop,
    private readonly changes: Changes
  ) {}

  @Get()
  page(@Res() response: any) {
    response.sendFile(path.join(import.meta.dirname, '../common/dashboard.html'))
  }

  @Get('orders')
  @Header('content-type', 'application/json')
  async orders() {
    return toJson((await this.shop.orders()).map(published))
  }

  // Not @Sse(): an observable has no bound on what waits for a slow browser.
  @Get('changes')
  follow(@Req() _request: IncomingMessage, @Res() response: ServerResponse) {
    this.changes.audience.join(response)
  }
}

// Shop comes first: it makes the table.
@Module({ controllers: [Orders], providers: [Shop, Changes] })
class Application {}

const application = await NestFactory.create(Application, { logger: ['error', 'warn'] })
// Without it, no onModuleDestroy at SIGTERM.
application.enableShutdownHooks()
const port = Number(process.env.PORT ?? 3000)
await application.listen(port, '127.0.0.1')
console.log(`http://127.0.0.1:${port}`)
