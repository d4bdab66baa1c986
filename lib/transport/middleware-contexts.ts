import { Inject, Injectable } from '@nestjs/common';

import type { Context } from '../context/context.js';
import { ContextRegistry } from '../context/context-registry.js';
import type { DbContextOptions, RequestOutcome } from '../options/context-options.js';
import { DEFAULTS } from '../options/defaults.js';
import { DB_CONTEXT_OPTIONS } from '../options/options-token.js';
import type { HttpResponse } from './http-exchange.js';
import { RouteLog } from './route-log.js';
import { UnclaimedContext, type UnclaimedEnvironment } from './unclaimed-context.js';

/**
 * The contexts that the middleware opened and no interceptor has taken over yet.
 *
 * They are kept by response rather than looked up in the current async context: a middleware that loses
 * the async context, or a client that has disconnected, must not make the interceptor open a second one.
 */
@Injectable()
export class MiddlewareContexts {
  readonly #unclaimed = new WeakMap<HttpResponse, UnclaimedContext>();
  readonly #opened = new WeakSet<HttpResponse>();
  readonly #unjoined = new WeakSet<Context>();
  readonly #environment: UnclaimedEnvironment;

  constructor(
    registry: ContextRegistry,
    @Inject(DB_CONTEXT_OPTIONS) options: DbContextOptions,
    log: RouteLog,
  ) {
    const { commitOn = DEFAULTS.commitOn } = options;
    this.#environment = { registry, commitOn, log };
  }

  /**
   * Keeps a context until it is claimed; an answer that begins before that is held back until the context is
   * settled, and a response that closes before that rolls it back.
   *
   * @param answer lets the application answer an error in place of what was held back
   */
  watch(context: Context, response: HttpResponse, answer: (error: unknown) => void): void {
    const raw = response.raw ?? response;
    this.#unclaimed.set(raw, new UnclaimedContext(context, this.#environment, raw, answer));
    this.#opened.add(raw);
    this.letNobodyJoin(context);
    // Middlewares of MikroORM that come later open a request context, which is for all of the request.
    context.awaitHandler();
  }

  /** Whether the middleware has opened a context for this response that is not claimed yet. */
  has(response: HttpResponse | undefined): boolean {
    return response !== undefined && this.#unclaimed.has(response.raw ?? response);
  }

  /** Whether the middleware has opened a context for this response, whoever has claimed it since. */
  hasOpened(response: HttpResponse | undefined): boolean {
    return response !== undefined && this.#opened.has(response.raw ?? response);
  }

  /** Keeps handlers that run in a context out of it: they open contexts of their own. */
  letNobodyJoin(context: Context): void {
    this.#unjoined.add(context);
  }

  /**
   * Whether a handler that runs in a context works in it. It does not in one that has not been claimed: it must
   * not leave its work there where nobody can claim it, as in a resolver of GraphQL, whose execution context has
   * no response.
   */
  isJoinable(context: Context): boolean {
    return !this.#unjoined.has(context);
  }

  /** Takes a context over from the middleware; its new owner settles it. */
  claim(response: HttpResponse | undefined): Context | undefined {
    if (response === undefined) {
      return undefined;
    }
    const raw = response.raw ?? response;
    const unclaimed = this.#unclaimed.get(raw);
    this.#unclaimed.delete(raw);
    if (unclaimed === undefined) {
      return undefined;
    }
    this.#unjoined.delete(unclaimed.context);
    unclaimed.context.enterHandler();
    return unclaimed.claim();
  }

  /** Rolls back what came before a route without a context (`@SkipDbContext()`); work of it is in the log. */
  drop(response: HttpResponse | undefined, origin: string): void {
    const dropped = this.claim(response);
    if (dropped === undefined) {
      return;
    }
    const { registry, log } = this.#environment;
    if (dropped.hasWork) {
      log.workDropped(origin, 'skipped-route');
    }
    void registry.abandon(dropped);
  }

  /**
   * Makes the answer that is to come one of a failure, whatever its status.
   *
   * @param failure what `commitOn` is told of it
   */
  fail(response: HttpResponse | undefined, failure: RequestOutcome): void {
    if (response !== undefined) {
      this.#unclaimed.get(response.raw ?? response)?.fail(failure);
    }
  }
}
