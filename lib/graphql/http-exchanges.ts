import { Injectable, type OnModuleInit } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';

import type { HttpRequest, HttpResponse } from '../transport/http-exchange.js';
import type { Exchange } from './operations.js';

/** The members of Fastify that this library uses. */
interface FastifyLike {
  addHook(
    name: 'onRequest',
    hook: (request: object, reply: HttpResponse, done: () => void) => void,
  ): unknown;
}

interface RequestWithResponse extends HttpRequest {
  /** Express' response. */
  readonly res?: HttpResponse;
}

/** Finds the response of the request that the context object of an operation holds. */
@Injectable()
export class HttpExchanges implements OnModuleInit {
  readonly #adapterHost: HttpAdapterHost;
  /** Fastify's requests do not know their replies. */
  readonly #replies = new WeakMap<object, HttpResponse>();

  constructor(adapterHost: HttpAdapterHost) {
    this.#adapterHost = adapterHost;
  }

  onModuleInit(): void {
    const { httpAdapter } = this.#adapterHost;
    if (httpAdapter?.getType() === 'fastify') {
      httpAdapter.getInstance<FastifyLike>().addHook('onRequest', (request, reply, done) => {
        this.#replies.set(request, reply);
        done();
      });
    }
  }

  /** @param contextValue of Nest, which always has the request as `req`; Mercurius adds `reply` */
  of(contextValue: object): Exchange {
    const { req: request, reply } = contextValue as {
      readonly req?: RequestWithResponse;
      readonly reply?: HttpResponse;
    };
    if (typeof request !== 'object' || request === null) {
      return { response: reply };
    }
    return { request, response: reply ?? request.res ?? this.#replies.get(request) };
  }
}
