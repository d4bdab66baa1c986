import { responsePathAsArray, type GraphQLResolveInfo } from 'graphql';

import type { Context } from '../context/context.js';
import type { ContextRegistry } from '../context/context-registry.js';
import { decisionOf } from '../context/end-by.js';
import { SessionClosedError, type EndCause } from '../errors.js';
import type { OperationError, RequestOutcome } from '../options/context-options.js';
import { mayRetry } from '../context/retry.js';
import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { HandlersAtWork } from '../transport/handlers-at-work.js';
import { handlePromisesIn } from '../transport/promises-in-value.js';
import { settleRequest } from '../transport/request-settlement.js';
import type { RetryObstacle, RouteLog } from '../transport/route-log.js';
import { errorOf, type OperationEnd } from './answer.js';
import { outcomeOf } from './operation-outcome.js';
import type { OperationSettings } from './operation-settings.js';
import { ResolverCalls } from './resolver-calls.js';

type Path = GraphQLResolveInfo['path'];

/** A fact of its own, since anything can be thrown. */
interface Failure {
  readonly error: unknown;
}

/**
 * One operation, or one event of a subscription, with the context that all its resolvers work in. It is
 * settled once, before its answer leaves (S1, W1).
 */
export class GraphQLOperation {
  readonly context: Context;
  readonly #registry: ContextRegistry;
  readonly #settings: OperationSettings;
  readonly #atWork: HandlersAtWork;
  /** Ends the fields that are still being resolved when the context has been open for too long. */
  readonly #waiting = new Set<(error: Error) => void>();
  #expiry: Parameters<NonNullable<Context['onExpire']>>[0] | undefined;
  readonly #thrown = new Map<string, unknown>();
  #end: Promise<OperationEnd> | undefined;
  readonly #stops: (() => void)[] = [];
  readonly #wasInUse: boolean;
  readonly #failures: unknown[] = [];
  #unwritten: Failure | undefined;

  constructor(
    registry: ContextRegistry,
    context: Context,
    settings: OperationSettings,
    log: RouteLog,
  ) {
    this.#wasInUse = !context.isUntouched;
    this.#registry = registry;
    this.context = context;
    this.#settings = settings;
    const expire: typeof context.onExpire = (error) => {
      this.#expiry = error;
      this.#waiting.forEach((reject) => reject(errorOf(error)));
      log.cutOff(error);
    };
    context.onExpire = expire;
    this.#atWork = new HandlersAtWork(context);
    context.handlerEnd = new ResolverCalls(this.#atWork, (error) =>
      log.failedAfterAnswer(context.origin, error),
    );
  }

  get settings(): OperationSettings {
    return this.#settings;
  }

  /** Whether it has been settled, or is being settled. */
  get hasEnded(): boolean {
    return this.#end !== undefined;
  }

  /** Calls `stop` when the operation has been settled. */
  onSettled(stop: () => void): void {
    this.#stops.push(stop);
  }

  /** Runs `callback` in the context. */
  run<T>(callback: () => T): T {
    return this.#registry.active() === this.context
      ? callback()
      : this.#registry.runIn(this.context, callback);
  }

  /**
   * Refuses a resolver that begins after the end (S5): it would work in a context of its own, and save a part
   * of what is rolled back.
   *
   * @throws why it took too long, or {@link SessionClosedError}
   */
  assertOpen(): void {
    const { isClosed, connectionNames, endCause: because } = this.context;
    if (this.#expiry !== undefined) {
      throw errorOf(this.#expiry);
    }
    if (this.hasEnded || isClosed) {
      const [name = DEFAULT_CONNECTION_NAME] = connectionNames;
      throw new SessionClosedError(this.context.placeOf(name), undefined, { because });
    }
  }

  /** Waits for a field, and no longer than the context is open: the answer must not wait for ever. */
  whileOpen<T>(work: PromiseLike<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#expiry !== undefined) {
        reject(errorOf(this.#expiry));
      }
      this.#waiting.add(reject);
      const isOver = (): boolean => this.#waiting.delete(reject);
      work.then(
        (value) => {
          isOver();
          if (this.#expiry !== undefined) {
            // It is too late for the server to read it.
            handlePromisesIn(value);
          }
          resolve(value);
        },
        (error: unknown) => {
          isOver();
          reject(error);
        },
      );
    });
  }

  /** A field, or an item of a list, is being resolved. @returns is to be called when it is */
  begin(): () => void {
    return this.#atWork.begin();
  }

  /** Remembers what a field has thrown, for servers whose errors no longer have it. */
  threw(path: Path, error: unknown): void {
    this.#thrown.set(keyOf(responsePathAsArray(path)), error);
  }

  /** What the field at a path has thrown. */
  thrownAt(path: OperationError['path'] = []): Error | undefined {
    const error = this.#thrown.get(keyOf(path));
    return error instanceof Error ? error : undefined;
  }

  /** Why what a root field has changed could not be written, if it could not. */
  get unwritten(): Failure | undefined {
    return this.#unwritten;
  }

  /** Writes what a root field of a mutation has changed, before the next one begins. */
  async flush(): Promise<void> {
    try {
      for (const session of this.context.sessions) {
        await this.run(() => session.flush());
      }
    } catch (error) {
      this.#unwritten ??= { error };
      throw error;
    }
  }

  /**
   * Settles the context by the errors of the operation; a second call waits for the first (S4).
   *
   * @param errors before a server has formatted them
   */
  settle(errors: readonly OperationError[]): Promise<OperationEnd> {
    this.#end ??= this.#settle(errors);
    return this.#end;
  }

  /** Whether a concurrent transaction made it fail, as `@RetryOnSerializationFailure()` expects it. */
  failedBy(attempt: number): boolean {
    const { retry } = this.#settings.retried ?? {};
    return retry !== undefined && this.#failures.some((error) => mayRetry(retry, attempt, error));
  }

  /** Why it cannot run again, although it failed by a concurrent transaction. */
  get obstacle(): RetryObstacle | undefined {
    if (!this.#settings.hasOneField) {
      return 'several-fields';
    }
    if (this.#wasInUse) {
      return 'work-before-handler';
    }
    return this.context.earlyCommits > 0 ? 'committed-early' : undefined;
  }

  /**
   * Rolls back an operation that nobody settles.
   *
   * @param cause why, where its resolvers may still run
   */
  abandon(cause?: EndCause): void {
    this.#end ??= this.#registry.abandon(this.context, cause).then(() => {
      this.#hasEnded();
      return this.#rolledBack;
    });
  }

  async #settle(errors: readonly OperationError[]): Promise<OperationEnd> {
    const { context } = this;
    const hadWork = context.hasWork || context.undone !== undefined;
    this.#failures.push(...errors.map(({ originalError }) => originalError));
    const settlement = {
      registry: this.#registry,
      context,
      commitOn: (outcome: RequestOutcome) => this.#commits(outcome),
      refusal: () => this.#atWork.refusal,
    };
    try {
      // The rollback of a context that was open for too long may wait for a statement that still runs.
      const isCommitted = await this.whileOpen(
        (async () => settleRequest(settlement, outcomeOf(errors)))(),
      );
      return !hadWork
        ? { kind: 'untouched' }
        : isCommitted
          ? { kind: 'committed' }
          : this.#rolledBack;
    } catch (error) {
      if (this.#expiry !== undefined) {
        return errors.length === 0
          ? { kind: 'failed', error: this.#expiry }
          : hadWork
            ? this.#rolledBack
            : { kind: 'untouched' };
      }
      this.#failures.push(error);
      return { kind: 'failed', error };
    } finally {
      this.#hasEnded();
    }
  }

  get #rolledBack(): OperationEnd {
    return { kind: 'rolled-back', keepsParts: this.context.earlyCommits > 0 };
  }

  #hasEnded(): void {
    this.#stops.splice(0).forEach((stop) => stop());
  }

  #commits(outcome: RequestOutcome): boolean {
    return this.#settings.policies.every(
      (policy) => decisionOf(policy(outcome), 'commitOn', this.context) === 'commit',
    );
  }
}

function keyOf(path: readonly (string | number)[]): string {
  return path.join('.');
}
