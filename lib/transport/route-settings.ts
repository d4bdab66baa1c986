import type { ExecutionContext, Type } from '@nestjs/common';
import type { Reflector } from '@nestjs/core';

import {
  AFTER_COMMIT_METADATA,
  type AfterCommitInterceptor,
} from '../decorators/after-commit.decorator.js';
import {
  COMMIT_ON_METADATA,
  FLUSH_ON_METADATA,
  RETRY_METADATA,
  SKIP_METADATA,
  TRANSACTION_METADATA,
  type RouteTransaction,
} from '../decorators/route.decorators.js';
import type { CommitPolicy, FlushTime } from '../options/context-options.js';
import type { RetryOptions } from '../options/retry-options.js';
import {
  answersByItself,
  isRendered,
  isSse,
  methodNameOf,
  redirectOf,
  type Redirect,
} from './http-exchange.js';

/** Where a handler is declared. */
export interface Route extends Pick<ExecutionContext, 'getHandler'> {
  getClass(): Type;
}

/** The settings of a route, from the decorators of its handler and of its class. */
export interface RouteSettings {
  /** `Class.method`, for the log. */
  readonly name: string;
  readonly handler: object;
  readonly owner: object;
  readonly isSkipped: boolean;
  /** Whether each value is sent at once (server-sent events), rather than the last one after the commit. */
  readonly isLive: boolean;
  /** Whether the handler sends the response, rather than Nest. */
  readonly answersByItself: boolean;
  /** Whether Nest makes the response of what the handler returns. */
  readonly isSerialized: boolean;
  readonly redirect: Redirect | undefined;
  readonly commitOn: CommitPolicy | undefined;
  readonly flush: FlushTime | undefined;
  /** The settings of the class come before those of the method, so that those of the method win. */
  readonly transactions: readonly RouteTransaction[];
  readonly retry: RetryOptions | undefined;
  /** Those of the class come before those of the method: they are further out. */
  readonly afterCommit: readonly AfterCommitInterceptor[];
}

/** Reads the decorators of each route once: they do not change, and every request needs them. */
export class RouteSettingsReader {
  readonly #reflector: Reflector;
  // By handler, and then by class: an inherited handler has other settings in each class.
  readonly #known = new WeakMap<object, WeakMap<object, RouteSettings>>();

  constructor(reflector: Reflector) {
    this.#reflector = reflector;
  }

  of(executionContext: Route): RouteSettings {
    const handler = executionContext.getHandler();
    const owner = executionContext.getClass();
    const known = this.#known.get(handler)?.get(owner);
    if (known !== undefined) {
      return known;
    }
    const ofHandler = this.#known.get(handler) ?? new WeakMap<object, RouteSettings>();
    const settings = this.#read(executionContext);
    this.#known.set(handler, ofHandler.set(owner, settings));
    return settings;
  }

  #read(executionContext: Route): RouteSettings {
    const handler = executionContext.getHandler();
    const owner = executionContext.getClass();
    const nearest = (key: string): unknown =>
      this.#reflector.getAllAndOverride<unknown>(key, [handler, owner]);
    const redirect = redirectOf(executionContext);
    const isAnsweredByHandler = answersByItself(executionContext);
    return {
      name: `${owner.name}.${methodNameOf(executionContext)}`,
      handler,
      owner,
      isSkipped: nearest(SKIP_METADATA) === true,
      isLive: isSse(executionContext),
      answersByItself: isAnsweredByHandler,
      isSerialized: !isAnsweredByHandler && redirect === undefined && !isRendered(executionContext),
      redirect,
      commitOn: nearest(COMMIT_ON_METADATA) as CommitPolicy | undefined,
      flush: nearest(FLUSH_ON_METADATA) as FlushTime | undefined,
      transactions: [owner, handler].flatMap(
        (target) => this.#reflector.get<RouteTransaction[]>(TRANSACTION_METADATA, target) ?? [],
      ),
      retry: nearest(RETRY_METADATA) as RetryOptions | undefined,
      afterCommit: [owner, handler].flatMap(
        (target) =>
          this.#reflector.get<AfterCommitInterceptor[]>(AFTER_COMMIT_METADATA, target) ?? [],
      ),
    };
  }
}
