import type { ExecutionContext } from '@nestjs/common';
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

/** What the decorators of a handler and of its class say. */
export interface RouteSettings {
  /** `Class.method`, for the log. */
  readonly name: string;
  readonly isSkipped: boolean;
  /** Whether each value is for the client at once, rather than the last one after the commit. */
  readonly isLive: boolean;
  readonly redirect: Redirect | undefined;
  readonly commitOn: CommitPolicy | undefined;
  /** Those of the class come first, so that those of the method win. */
  readonly transactions: readonly RouteTransaction[];
  readonly retry: RetryOptions | undefined;
}

/** Reads what decorators say once per route: they do not change, and requests are many. */
export class RouteSettingsReader {
  readonly #reflector: Reflector;
  // By the class as well: a handler that is inherited has other settings in each class.
  readonly #known = new WeakMap<object, WeakMap<object, RouteSettings>>();

  constructor(reflector: Reflector) {
    this.#reflector = reflector;
  }

  of(context: ExecutionContext): RouteSettings {
    const handler = context.getHandler();
    const ofHandler = this.#known.get(handler) ?? new WeakMap<object, RouteSettings>();
    this.#known.set(handler, ofHandler);
    const known = ofHandler.get(context.getClass()) ?? this.#read(context);
    ofHandler.set(context.getClass(), known);
    return known;
  }

  #read(context: ExecutionContext): RouteSettings {
    const handler = context.getHandler();
    const owner = context.getClass();
    const nearest = (key: string): unknown =>
      this.#reflector.getAllAndOverride<unknown>(key, [handler, owner]);
    return {
      name: `${owner.name}.${handler.name}`,
      isSkipped: nearest(SKIP_METADATA) === true,
      isLive: isSse(context),
      redirect: redirectOf(context),
      commitOn: nearest(COMMIT_ON_METADATA) as CommitPolicy | undefined,
      transactions: [owner, handler].flatMap(
        (target) => this.#reflector.get<RouteTransaction[]>(TRANSACTION_METADATA, target) ?? [],
      ),
      retry: nearest(RETRY_METADATA) as RetryOptions | undefined,
    };
  }
}
