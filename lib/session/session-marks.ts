import type { EntityManager } from '@mikro-orm/core';

import type { TransactionSettings } from '../postgresql/transaction-settings.js';
import type { Failure } from '../transaction/transaction-state.js';
import type { KyselyTransaction } from './kysely-transaction.js';
import { NestedTransaction } from './nested-transaction.js';
import type { TransactionOrigin } from './owned-connection.js';
import type { WorkOwner } from './owned-work.js';

/** The session behind an entity manager. */
export interface SessionControl extends TransactionOrigin, WorkOwner {
  /** The current transaction context; a new one after each commit and rollback. */
  readonly context: KyselyTransaction;
  begin(settings: TransactionSettings): Promise<void>;
  demand(settings: TransactionSettings): void;
  commit(): Promise<void>;
  rollback(): Promise<void>;
  /** A nested transaction has ended, which may have been one beside its own (`requires_new`). */
  nestedEnded(): Promise<void> | undefined;
  /** A flush has failed, and MikroORM forgets what it could not write. */
  flushFailed(error: unknown): void;
}

export const CONTROL = Symbol('nestjs-db-context:session-control');
export const ROOT = Symbol('nestjs-db-context:session-root');
export const ORIGIN = Symbol('nestjs-db-context:session-origin');
export const NESTED = Symbol('nestjs-db-context:session-nested');
export const OVER = Symbol('nestjs-db-context:session-over');
export const FLUSH_FAILURE = Symbol('nestjs-db-context:session-flush-failure');

/** An entity manager of the class that `sessionManagerClass()` makes. */
export interface SessionManager extends EntityManager {
  /** The session that this is the entity manager of. */
  [CONTROL]?: SessionControl | undefined;
  /** The manager that the outermost `transactional()` was called on, for the fork of a callback. */
  [ROOT]?: EntityManager | undefined;
  /** The session that this is a fork of. */
  [ORIGIN]?: TransactionOrigin | undefined;
  /** Whether `transactional()` was ever called on it. */
  [NESTED]?: boolean;
  /** Whether the callback that it was made for, of `not_supported`, has returned. */
  [OVER]?: boolean;
  /** The first flush of it that failed. */
  [FLUSH_FAILURE]?: Failure | undefined;
}

/**
 * The manager of the innermost `transactional()` that the calling code runs in, where MikroORM names
 * `manager`: its `TransactionContext` does not know the fork of `not_supported`.
 */
export function innermostManager(manager: EntityManager): EntityManager {
  const root = (manager as SessionManager)[ROOT];
  return (root && NestedTransaction.forkOf(root)) ?? manager;
}

/** Whether a manager is one that `transactional()` has made inside of `root`, at any depth, or `root` itself. */
export function isForkOf(manager: EntityManager, root: EntityManager | undefined): boolean {
  return root !== undefined && ((manager as SessionManager)[ROOT] ?? manager) === root;
}

/** Whether `transactional()` has made a manager for its callback. */
export function isOfTransactional(manager: EntityManager): boolean {
  return (manager as SessionManager)[ROOT] !== undefined;
}

/** The session that an entity manager is the manager of. */
export function controlOf(manager: EntityManager): SessionControl | undefined {
  return (manager as SessionManager)[CONTROL];
}

/** Makes a manager of that class the entity manager of a session. */
export function bindControl(manager: EntityManager, control: SessionControl): void {
  (manager as SessionManager)[CONTROL] = control;
  manager.setTransactionContext(control.context);
}
