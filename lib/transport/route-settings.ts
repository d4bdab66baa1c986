import type { ExecutionContext, Type } from '@nestjs/common';
import type { Reflector } from '@nestjs/core';

import {
  COMMIT_ON_METADATA,
  RETRY_METADATA,
  SKIP_METADATA,
  TRANSACTION_METADATA,
  type RouteTransaction,
} from '../decorators/route.decorators.js';
import type { CommitPolicy } from '../options/context-options.js';
import type { RetryOptions } from '../options/retry-options.js';
import { isSse, redirectOf, type Redirect } from './http-exchange.js';

/** Where a handler is declared. */
export interface Route extends Pick<ExecutionContext, 'getHandler'> {
  getClass(): Type;
}

/** The settings of a route, from the decorators of its handler and of its class. */
export interface RouteSettings {
  /** `Class.method`, for the log. */
  readonly name: string;
  readonly isSkipped: boolean;
  /** Whether each value is sent at once (server-sent events), rather than the last one after the commit. */
  readonly isLive: boolean;
  readonly redirect: Redirect | undefined;
  readonly commitOn: CommitPolicy | undefined;
  /** The settings of the class come before those of the method, so that those of the method win. */
  readonly transactions: readonly RouteTransaction[];
  readonly retry: RetryOptions | undefined;
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
    const ofHandler = this.#known.get(handler) ?? new WeakMap<object, RouteSettings>();
    this.#known.set(handler, ofHandler);
    const known = ofHandler.get(executionContext.getClass()) ?? this.#read(executionContext);
    ofHandler.set(executionContext.getClass(), known);
    return known;
  }

  #read(executionContext: Route): RouteSettings {
    const handler = executionContext.getHandler();
    const owner = executionContext.getClass();
    const nearest = (key: string): unknown =>
      this.#reflector.getAllAndOverride<unknown>(key, [handler, owner]);
    return {
      name: `${owner.name}.${handler.name}`,
      isSkipped: nearest(SKIP_METADATA) === true,
      isLive: isSse(executionContext),
      redirect: redirectOf(executionContext),
      commitOn: nearest(COMMIT_ON_METADATA) as CommitPolicy | undefined,
      transactions: [owner, handler].flatMap(
        (target) => this.#reflector.get<RouteTransaction[]>(TRANSACTION_METADATA, target) ?? [],
      ),
      retry: nearest(RETRY_METADATA) as RetryOptions | undefined,
    };
  }
}
