import { Logger } from '@nestjs/common';

import type { RouteSettings } from './route-settings.js';

/** Why a request that failed is not run again, although its route asks for it. */
export type RetryObstacle = 'work-before-handler' | 'committed-early' | 'several-fields';

/** Writes what concerns a route to Nest's log; each warning once per route. */
export class RouteLog {
  readonly #logger = new Logger('DbContext');
  readonly #warned = new WeakMap<RouteSettings, Set<string>>();

  /** Warns that the response of a route leaves before its commit. */
  responseSentBeforeCommit(route: RouteSettings): void {
    this.#warnOnce(
      route,
      'sent',
      `${route.name} sends its response before the transaction is ` +
        'committed, so a client may see a success that then fails. Return the value instead of ' +
        'using @Res(), commit with dbContext.commit() before sending, or mark the route with ' +
        '@SkipDbContext().',
    );
  }

  /** Warns that a request failed as `@RetryOnSerializationFailure()` expects, and cannot run again. */
  notRetried(route: RouteSettings, obstacle: RetryObstacle): void {
    this.#warnOnce(route, obstacle, `${route.name} ${OBSTACLES[obstacle]}`);
  }

  /** Reports a commit that failed after its client had disconnected, so that no response says it. */
  commitFailedAfterDisconnect(route: RouteSettings, error: unknown): void {
    this.#logger.error(
      `${route.name} could not be committed, and its client has left: ${String(error)}`,
      error instanceof Error ? error.stack : undefined,
    );
  }

  #warnOnce(route: RouteSettings, kind: string, message: string): void {
    const warned = this.#warned.get(route) ?? new Set();
    this.#warned.set(route, warned);
    if (!warned.has(kind)) {
      warned.add(kind);
      this.#logger.warn(message);
    }
  }
}

const OBSTACLES: Record<RetryObstacle, string> = {
  'work-before-handler':
    'failed with a serialization failure or a deadlock, and was not run again: a guard or a ' +
    "middleware had used its context (mount: 'middleware'), and only the handler would run again, " +
    'without what they did. Let them work in dbContext.runInNewContext(), or take the route out ' +
    'of @RetryOnSerializationFailure().',
  'committed-early':
    'failed with a serialization failure or a deadlock, and was not run again: a part of it had ' +
    'been committed before its end (commit(), atomic()), and would be done twice. Commit nothing ' +
    'early on the route, or retry the part alone: dbContext.atomic(fn, { retry }).',
  'several-fields':
    'failed with a serialization failure or a deadlock, and was not run again: it is one of several root ' +
    'fields of its GraphQL operation. Ask for it in an operation of its own, or retry the part alone: ' +
    'dbContext.atomic(fn, { retry }).',
};
