import { UnexpectedRollbackError } from '../errors.js';
import type { SessionObserver } from '../session/session-observer.js';
import type { Session } from '../session/session.js';
import { CommitRefusals } from './commit-refusals.js';
import { ContextHooks, type HookEnvironment } from './hooks.js';

/** What the ends of its sessions mean for a context: which hooks are due, and whether it may commit. */
export class SessionEnds extends CommitRefusals implements SessionObserver {
  readonly hooks: ContextHooks;

  constructor(environment: HookEnvironment) {
    super();
    this.hooks = new ContextHooks(environment);
  }

  /** See {@link SessionObserver.assertMayCommit}. */
  assertMayCommit({ connectionName }: Session): void {
    const refusal = this.errorOf(connectionName);
    if (refusal !== undefined) {
      throw refusal;
    }
  }

  /** See {@link SessionObserver.assertNotRollbackOnly}. */
  assertNotRollbackOnly({ connectionName }: Session): void {
    if (this.isRollbackOnly(connectionName)) {
      throw new UnexpectedRollbackError(connectionName, 'rollback-only');
    }
  }

  /** See {@link SessionObserver.beforeCommit}. */
  beforeCommit(session: Session): Promise<void> | undefined {
    return this.hooks.beforeCommit(session);
  }

  /** See {@link SessionObserver.committed}. */
  committed({ connectionName }: Session): Promise<void> {
    return this.hooks.afterEarlyCommit([connectionName]);
  }

  /** See {@link SessionObserver.rolledBack}. */
  rolledBack({ connectionName }: Session): Promise<void> {
    this.forgetRollbackOnly(connectionName);
    return this.hooks.afterEarlyRollback();
  }

  /** See {@link SessionObserver.undone}. */
  undone({ connectionName }: Session): void {
    this.forget(connectionName);
  }

  /** See {@link SessionObserver.commitFailed}. */
  commitFailed({ connectionName }: Session, error: unknown): void {
    this.failed(connectionName, error);
  }
}
