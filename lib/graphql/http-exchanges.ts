import { Injectable, type OnModuleInit } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';

import type { HttpRequest, HttpResponse } from '../transport/http-exchange.js';
import type { ClientSocket } from './client-sockets.js';
import type { Exchange } from './exchange.js';

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
  /** Node's own request, which Fastify's wraps. */
  readonly raw?: { readonly upgrade?: boolean; readonly socket?: ClientSocket };
  readonly socket?: ClientSocket;
}

/** The context object of an operation, as the servers and Nest make it. */
interface ContextValue {
  /** Nest always has the request here; over a WebSocket it is the connection of graphql-ws. */
  readonly req?: RequestWithResponse & {
    readonly extra?: { readonly request?: RequestWithResponse };
  };
  /** Mercurius adds it; over a WebSocket it is an imitation. */
  readonly reply?: HttpResponse & { readonly request?: RequestWithResponse };
  /** Mercurius has the request of the connection here, over a WebSocket. */
  readonly request?: RequestWithResponse;
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

  of(contextValue: object): Exchange {
    const { req, reply, request: ofConnection } = contextValue as ContextValue;
    const ofReply = reply?.raw === undefined ? undefined : reply;
    // Where the application gives one object to all operations, `req` may be that of another one.
    const request = ofReply?.request ?? req?.extra?.request ?? req ?? ofConnection;
    if (typeof request !== 'object' || request === null) {
      return { response: ofReply };
    }
    // Fastify makes a reply for the request of a WebSocket, too.
    const { upgrade: isUpgrade, socket } = request.raw ?? request;
    const response = ofReply ?? (isUpgrade === true ? undefined : this.#responseOf(request));
    return response === undefined ? { request, socket } : { request, response };
  }

  #responseOf(request: RequestWithResponse): HttpResponse | undefined {
    return request.res ?? this.#replies.get(request);
  }
}
