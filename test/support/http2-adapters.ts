import { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, Http2ServerRequest, Http2ServerResponse } from 'node:http2';

import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';

export type Http2AdapterName = 'express' | 'fastify';

/** A Nest adapter that serves HTTP/2 in plain text. */
export function http2Adapter(name: Http2AdapterName): ExpressAdapter | FastifyAdapter {
  return name === 'express' ? new Http2ExpressAdapter() : new FastifyAdapter({ http2: true });
}

interface ExpressApplication {
  request: object;
  response: object;
}

/**
 * Express over Node's HTTP/2. Express puts its own prototypes, which derive from those of HTTP/1, onto each
 * request and response; here they derive from those of HTTP/2, as the bridges on npm do it.
 */
class Http2ExpressAdapter extends ExpressAdapter {
  override initHttpServer(): void {
    const application = this.getInstance<ExpressApplication>();
    application.request = rebased(
      application.request,
      IncomingMessage.prototype,
      Http2ServerRequest.prototype,
    );
    application.response = rebased(
      application.response,
      ServerResponse.prototype,
      Http2ServerResponse.prototype,
    );
    this.httpServer = createServer(application as never) as never;
  }
}

/** A copy of `derived` that derives from `to` in place of `from`. */
function rebased(derived: object, from: object, to: object): object {
  if (derived === from) {
    return to;
  }
  const parent = Object.getPrototypeOf(derived) as object;
  return Object.create(
    rebased(parent, from, to),
    Object.getOwnPropertyDescriptors(derived),
  ) as object;
}
