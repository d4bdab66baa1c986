import type { EntityManager } from '@mikro-orm/core';

import { AsyncScope } from '../transaction/async-scope.js';
import { SavepointScope } from '../transaction/savepoint.js';

/**
 * One `em.transactional()` that code runs in, its hooks and its last flush included. MikroORM keeps
 * only the innermost one, whichever database it is of; these scopes keep one for each session.
 */
export class NestedTransaction extends SavepointScope {
  /** The manager that the outermost `transactional()` was called on. */
  readonly root: EntityManager;
  /** The fork that MikroORM makes for the callback, as soon as it is known. */
  fork: EntityManager | undefined;

  constructor(root: EntityManager) {
    super();
    this.root = root;
  }

  override get awaitsSavepoint(): boolean {
    return this.fork === undefined && super.awaitsSavepoint;
  }

  /** The fork of the innermost nested transaction of `root` that the current code runs in. */
  static forkOf(root: EntityManager): EntityManager | undefined {
    if (AsyncScope.isEmpty) {
      return undefined;
    }
    const isOf = (scope: NestedTransaction): boolean =>
      scope.root === root && scope.fork !== undefined;
    return AsyncScope.innermost(NestedTransaction, isOf)?.fork;
  }

  /** The nested transaction that MikroORM is just making the fork for. */
  static beingOpened(): NestedTransaction | undefined {
    return AsyncScope.isEmpty
      ? undefined
      : AsyncScope.innermost(
          NestedTransaction,
          ({ fork, isOver }) => fork === undefined && !isOver,
        );
  }

  /** It is over. @returns what to wait for, where MikroORM has ended no savepoint that it had set */
  end(): Promise<void> | undefined {
    // MikroORM ends none whose begin failed after it had been set, in a subscriber.
    const undone = this.savepoint?.undo();
    if (undone === undefined) {
      this.isOver = true;
      return undefined;
    }
    return undone.finally(() => {
      this.isOver = true;
    });
  }
}
