import { Injectable, Logger } from '@nestjs/common';

import type { ContextTimeoutError, ShuttingDownError } from '../errors.js';
import type { RouteSettings } from './route-settings.js';

/** For how long a stream of events may hold a connection before it is warned of, in milliseconds. */
const LONGEST_HELD_STREAM_MS = 1_000;

/** Why a request that failed is not run again, although its route asks for it. */
export type RetryObstacle = 'work-before-handler' | 'committed-early' | 'several-fields';

/** Why no response says that a commit has failed. */
export type UnheardReason = 'client-left' | 'given-up' | 'answered';

/** Why the work of a request is rolled back, although nothing need have failed in it. */
export type DropReason = 'client-left' | 'given-up' | 'skipped-route' | 'fields-rolled-back';

/** Writes what concerns a route to Nest's log; each warning once per route, for all transports. */
@Injectable()
export class RouteLog {
  readonly #logger = new Logger('DbContext');
  readonly #warned = new WeakMap<RouteSettings, Set<string>>();

  /** Warns that the response of a route leaves before its commit. */
  responseSentBeforeCommit(route: RouteSettings): void {
    this.#warnOnce(
      route,
      'sent',
      `${route.name} sends its response before the transaction is ` +
        'committed, so a client may see a success that then fails. ' +
        (route.isLive
          ? 'Mark the route with @SkipDbContext(), and work in dbContext.run() for each event.'
          : 'Return the value instead of sending it by @Res() or in an interceptor, commit with dbContext.commit() before ' +
            'sending, or mark the route with @SkipDbContext().'),
    );
  }

  /** Warns that a cache has kept the answer of a route before its commit. */
  keptBeforeCommit(route: RouteSettings): void {
    this.#warnOnce(
      route,
      'kept',
      `${route.name} writes, and CacheInterceptor keeps its answer before the transaction is ` +
        'committed: after a commit that fails, the next client gets a success from the cache. Put it ' +
        'around the context: @UseAfterCommit(CacheInterceptor) in place of @UseInterceptors(), or ' +
        'AFTER_COMMIT_INTERCEPTOR in place of APP_INTERCEPTOR.',
    );
  }

  /**
   * Warns of a stream of events that goes on while its context holds a connection.
   *
   * @param since when the first event was sent meanwhile, by the monotonic clock
   */
  sendsWhileHolding(route: RouteSettings, since: number): void {
    if (performance.now() - since > LONGEST_HELD_STREAM_MS) {
      this.#warnOnce(
        route,
        'held',
        `${route.name} sends events while its context holds a connection, one for each listener until the ` +
          'stream ends, and others then get none. Mark the route with @SkipDbContext(), and read in ' +
          'dbContext.run() for each event.',
      );
    }
  }

  /** Warns that entities of a root field of GraphQL were changed after its commit. */
  changedAfterCommit(route: RouteSettings, entities: readonly string[]): void {
    this.#warnOnce(
      route,
      'changed',
      `${route.name} has committed its context, and its entities were changed after that ` +
        `(${entities.join(', ')}), so the answer may show what is not saved. Change them in the root field, or give ` +
        "the operation one context for all its fields: DbContextGraphQLModule with scope: 'operation'.",
    );
  }

  /** Warns that a request failed as `@RetryOnSerializationFailure()` expects, and cannot run again. */
  notRetried(route: RouteSettings, obstacle: RetryObstacle): void {
    this.#warnOnce(route, obstacle, `${route.name} ${OBSTACLES[obstacle]}`);
  }

  /** Reports a request that was rolled back before it was answered; its client does not learn which. */
  cutOff(error: ContextTimeoutError | ShuttingDownError): void {
    this.#logger.error(error.message);
  }

  /** Reports a commit that failed where no response says it any more. */
  commitFailedUnheard(route: RouteSettings, why: UnheardReason, error: unknown): void {
    this.#logger.error(
      `${route.name} could not be committed, and ${UNHEARD[why]}: ${String(error)}`,
      error instanceof Error ? error.stack : undefined,
    );
  }

  /** Reports that an answer was not sent, since the work that it spoke of could not be saved. */
  answerDropped(origin: string, status: number, error: unknown): void {
    this.#logger.error(
      `${origin} was answered with ${status} by other code than its handler, and the commit failed. ` +
        `That answer was not sent, the error is answered in its place: ${String(error)}`,
      error instanceof Error ? error.stack : undefined,
    );
  }

  /** Reports a handler that failed after somebody else had answered in its place, so that no response says it. */
  failedAfterAnswer(handler: string, error: unknown): void {
    this.#logger.error(
      `${handler} failed after it had been answered in its place: ${String(error)}`,
      error instanceof Error ? error.stack : undefined,
    );
  }

  /** Reports an answer that was thrown away, since its work had failed and the failure was answered. */
  answeredTooLate(origin: string): void {
    this.#logger.error(
      `${origin} answered after its work had failed, and after that had been answered in its place. The ` +
        'late answer was thrown away. Let the handler return when it has answered.',
    );
  }

  /** Warns that a route has refused what it had let be committed. */
  refusedTooLate(route: RouteSettings, status: number): void {
    this.#warnOnce(
      route,
      'refused',
      `${route.name} was answered with ${status} after it had returned, and its work is committed by the ` +
        'status that the response had then. Let the handler return when it has answered.',
    );
  }

  /** Reports work that was rolled back although nothing need have failed in it. */
  workDropped(origin: string, why: DropReason): void {
    this.#logger.error(`The work of ${origin} was rolled back: ${DROPS[why]}`);
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

const UNHEARD: Record<UnheardReason, string> = {
  'client-left': 'its client has left',
  'given-up': 'an interceptor around it has answered in its place',
  answered: 'its response has been sent',
};

const DROPS: Record<DropReason, string> = {
  'client-left': 'its client has left before it was answered.',
  'given-up':
    'an interceptor around it (@UseAfterCommit(), or one above DbContextInterceptor) answered in its place before it ' +
    'was done.',
  'skipped-route':
    "a guard or a middleware had worked in its context (mount: 'middleware'), and the route is under " +
    '@SkipDbContext(). Take the decorator off, or let them work in dbContext.runInNewContext().',
  'fields-rolled-back':
    'the operation was not to be committed, by its errors or by commitOn. Its root fields have transactions of their ' +
    "own (scope: 'root-field').",
};
