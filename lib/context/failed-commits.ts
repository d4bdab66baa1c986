import { UnexpectedRollbackError } from '../errors.js';

/**
 * The early commits of a context that failed and that no `rollback()` has undone. The work that they
 * were to save is gone, so that the context cannot succeed (F4).
 */
export class FailedCommits {
  /** By the name of the connection, the first error. */
  readonly #errors = new Map<string, unknown>();

  /** Notes a failure; of several, the first one is the cause. */
  note(connectionName: string, error: unknown): void {
    if (!this.#errors.has(connectionName)) {
      this.#errors.set(connectionName, error);
    }
  }

  /** Says that the loss is known. */
  forget(connectionName: string): void {
    this.#errors.delete(connectionName);
  }

  has(connectionName: string): boolean {
    return this.#errors.has(connectionName);
  }

  /** Why a connection cannot be committed, if it cannot. */
  objectionTo(connectionName: string): UnexpectedRollbackError | undefined {
    return this.#errors.has(connectionName)
      ? new UnexpectedRollbackError(
          connectionName,
          'failed-before',
          this.#errors.get(connectionName),
        )
      : undefined;
  }

  /** Why the context cannot be committed, if it cannot. */
  get objection(): UnexpectedRollbackError | undefined {
    const [connectionName] = this.#errors.keys();
    return connectionName === undefined ? undefined : this.objectionTo(connectionName);
  }

  /** @returns a function that brings back what is known of a connection now */
  remember(connectionName: string): () => void {
    const isKnown = this.#errors.has(connectionName);
    const error = this.#errors.get(connectionName);
    return () => {
      this.forget(connectionName);
      if (isKnown) {
        this.note(connectionName, error);
      }
    };
  }
}
