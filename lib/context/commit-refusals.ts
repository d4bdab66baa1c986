import { UnexpectedRollbackError } from '../errors.js';

/** Why a connection of a context must not be committed. */
interface Refusal {
  readonly reason: 'failed-before' | 'rollback-only';
  readonly cause: unknown;
}

const NONE: ReadonlyMap<string, Refusal> = new Map();

/**
 * What forbids the commit of a context until somebody rolls back on purpose: a commit that failed
 * before (F4), or that the application asked for it (`rollbackOnly()`).
 */
export class CommitRefusals {
  // Most contexts have none, and a map of their own would be a good part of their memory.
  #refusals = NONE;
  /** Whether all of the context is to be rolled back. */
  #isRollbackOnly = false;

  /** A commit of a connection has failed. */
  failed(connectionName: string, cause: unknown): void {
    this.#set(connectionName, { reason: 'failed-before', cause });
  }

  /** @param connectionName all of the context if omitted */
  rollbackOnly(connectionName?: string): void {
    if (connectionName === undefined) {
      this.#isRollbackOnly = true;
    } else {
      this.#set(connectionName, { reason: 'rollback-only', cause: undefined });
    }
  }

  /** Somebody has rolled a connection back on purpose. */
  undone(connectionName: string): void {
    if (this.#refusals.has(connectionName)) {
      this.#refusals = new Map([...this.#refusals].filter(([name]) => name !== connectionName));
    }
  }

  /** A transaction of a connection was rolled back, which is all that `rollbackOnly()` asks for. */
  rolledBack(connectionName: string): void {
    if (this.#refusals.get(connectionName)?.reason === 'rollback-only') {
      this.undone(connectionName);
    }
  }

  /** @returns forgets the failed commits of a connection since, and no others */
  remember(connectionName: string): () => void {
    const refusal = this.#refusals.get(connectionName);
    return () => {
      if (this.#refusals.get(connectionName)?.reason === 'failed-before') {
        this.undone(connectionName);
      }
      if (refusal?.reason === 'failed-before') {
        this.#set(connectionName, refusal);
      }
    };
  }

  /** Somebody has rolled all of the context back on purpose. */
  undoneAll(): void {
    this.#refusals = NONE;
    this.#isRollbackOnly = false;
  }

  get isEmpty(): boolean {
    return this.#refusals.size === 0 && !this.#isRollbackOnly;
  }

  /** Why a connection must not be committed. */
  errorOf(connectionName: string): UnexpectedRollbackError | undefined {
    const refusal = this.#refusals.get(connectionName);
    if (refusal !== undefined) {
      return new UnexpectedRollbackError(connectionName, refusal.reason, refusal.cause);
    }
    return this.#isRollbackOnly
      ? new UnexpectedRollbackError(connectionName, 'rollback-only')
      : undefined;
  }

  /**
   * Why the context must not be committed, for any of its connections.
   *
   * @param named the connection that is named where all of the context is meant
   */
  errorOfAny(named: string): UnexpectedRollbackError | undefined {
    const [refused = named] = this.#refusals.keys();
    return this.errorOf(refused);
  }

  #set(connectionName: string, refusal: Refusal): void {
    this.#refusals = new Map([...this.#refusals, [connectionName, refusal]]);
  }
}
