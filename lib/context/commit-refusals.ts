import { UnexpectedRollbackError, type ErrorPlace } from '../errors.js';
import type { Failure } from '../transaction/transaction-state.js';

// Most contexts have neither, and collections of their own would be a good part of their memory.
const NO_FAILURES: ReadonlyMap<string, Failure> = new Map();
const NO_NAMES: ReadonlySet<string> = new Set();

/**
 * What forbids the commit of a context until the application rolls back on purpose: a commit that
 * failed before (F4), or that the application asked for it (`rollbackOnly()`).
 */
export class CommitRefusals {
  /** The first commit of each connection that failed. */
  #failures = NO_FAILURES;
  /** The connections that are to be rolled back. */
  #rollbackOnly = NO_NAMES;
  /** Whether all of the context is to be rolled back. */
  #isRollbackOnly = false;
  readonly #owner: { readonly origin: string };

  /** @param owner the context, for messages */
  constructor(owner: { readonly origin: string }) {
    this.#owner = owner;
  }

  /** Where errors of a connection happen. */
  protected placeOf(connectionName: string): ErrorPlace {
    return { connectionName, origin: this.#owner.origin };
  }

  /** A commit of a connection has failed. */
  failed(connectionName: string, error: unknown): void {
    if (!this.#failures.has(connectionName)) {
      this.#failures = new Map([...this.#failures, [connectionName, { error }]]);
    }
  }

  /** @param connectionName all of the context if omitted */
  rollbackOnly(connectionName?: string): void {
    if (connectionName === undefined) {
      this.#isRollbackOnly = true;
    } else {
      this.#rollbackOnly = new Set([...this.#rollbackOnly, connectionName]);
    }
  }

  /** A connection was rolled back on purpose. */
  forget(connectionName: string): void {
    this.forgetRollbackOnly(connectionName);
    this.#forgetFailure(connectionName);
  }

  /** The application has rolled a connection back, or closed it, which is all that `rollbackOnly()` asks for. */
  forgetRollbackOnly(connectionName: string): void {
    if (this.#rollbackOnly.has(connectionName)) {
      this.#rollbackOnly = new Set(
        [...this.#rollbackOnly].filter((name) => name !== connectionName),
      );
    }
  }

  /** All of the context was rolled back on purpose. */
  forgetAll(): void {
    this.#failures = NO_FAILURES;
    this.#rollbackOnly = NO_NAMES;
    this.#isRollbackOnly = false;
  }

  /** @returns forgets a commit of the connection that has failed since, and none that failed before */
  remember(connectionName: string): () => void {
    const known = this.#failures.get(connectionName);
    return () => {
      if (this.#failures.get(connectionName) !== known) {
        this.#forgetFailure(connectionName);
      }
    };
  }

  get refusesNothing(): boolean {
    return this.#failures.size === 0 && this.#rollbackOnly.size === 0 && !this.#isRollbackOnly;
  }

  /** Why a connection must not be committed, if the application asked for its rollback. */
  rollbackOnlyErrorOf(connectionName: string): UnexpectedRollbackError | undefined {
    return this.#isRollbackOnly || this.#rollbackOnly.has(connectionName)
      ? new UnexpectedRollbackError(this.placeOf(connectionName), 'rollback-only')
      : undefined;
  }

  /** Why a connection must not be committed. */
  errorOf(connectionName: string): UnexpectedRollbackError | undefined {
    return this.failureOf(connectionName) ?? this.rollbackOnlyErrorOf(connectionName);
  }

  /** Why a connection must not be committed, if a commit of it has failed before. */
  failureOf(connectionName: string): UnexpectedRollbackError | undefined {
    const failure = this.#failures.get(connectionName);
    return (
      failure &&
      new UnexpectedRollbackError(this.placeOf(connectionName), 'failed-before', failure.error)
    );
  }

  /**
   * Why the context must not be committed, for any of its connections.
   *
   * @param named the connection that is named where all of the context is meant
   */
  errorOfAny(named: string): UnexpectedRollbackError | undefined {
    const [refused = named] = [...this.#failures.keys(), ...this.#rollbackOnly];
    return this.errorOf(refused);
  }

  #forgetFailure(connectionName: string): void {
    if (this.#failures.has(connectionName)) {
      this.#failures = new Map([...this.#failures].filter(([name]) => name !== connectionName));
    }
  }
}
