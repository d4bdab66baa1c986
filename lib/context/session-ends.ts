import { InvalidTransactionStateError, type UnexpectedRollbackError } from '../errors.js';
import type { SessionObserver } from '../session/session-observer.js';
import type { Session } from '../session/session.js';
import { AtomicBlocks } from './atomic-blocks.js';
import { CommitRefusals } from './commit-refusals.js';
import type { HookEnvironment } from './hook-calls.js';
import { ContextHooks } from './hooks.js';

const COMMITS: ReadonlySet<string> = new Set(['commit', 'commitAll', 'atomic']);

/** What the ends of its sessions mean for a context: which hooks are due, and whether it may commit. */
export class SessionEnds extends CommitRefusals implements SessionObserver {
  readonly #environment: HookEnvironment;
  readonly #owner: { readonly origin: string };
  #hooks: ContextHooks | undefined;
  /** Whether the commit of the whole context has begun. */
  isCommitting = false;
  #blocks: AtomicBlocks | undefined;

  /** @param owner the context, for messages */
  constructor(environment: HookEnvironment, owner: { readonly origin: string }) {
    super(owner);
    this.#environment = environment;
    this.#owner = owner;
  }

  /** The hooks, made when they are first asked for. */
  get hooks(): ContextHooks {
    return (this.#hooks ??= new ContextHooks(this.#environment, this.#owner));
  }

  /** Whether any hook waits. */
  get hasHooks(): boolean {
    return this.#hooks?.isEmpty === false;
  }

  /** The atomic blocks, made as the first one begins. */
  get blocks(): AtomicBlocks {
    this.#blocks ??= new AtomicBlocks();
    return this.#blocks;
  }

  /** Whether an atomic block runs or waits. */
  get hasBlocks(): boolean {
    return this.#blocks?.isEmpty === false;
  }

  /** See {@link SessionObserver.assertMayEnd}. */
  assertMayEnd({ connectionName }: Session, verb: 'commit' | 'rollback'): void {
    this.assertEndsAlone(connectionName, verb);
    const refusal = verb === 'commit' ? this.errorOf(connectionName) : undefined;
    if (refusal !== undefined) {
      throw refusal;
    }
  }

  /**
   * Refuses an end where another one has begun, or where an atomic block of another branch would be cut
   * in two.
   *
   * @throws {@link InvalidTransactionStateError}
   */
  assertEndsAlone(connectionName: string, verb: string): void {
    this.assertNotCommitting(connectionName, verb);
    if (this.#blocks?.isElsewhere(connectionName) === true) {
      throw new InvalidTransactionStateError(
        this.placeOf(connectionName),
        `${verb}() was called while an atomic() block of another branch works on the session, and would end ` +
          'the half of it. Await the block first, or give one of the two a context of its own: ' +
          'dbContext.runInNewContext().',
      );
    }
  }

  /** @throws {@link InvalidTransactionStateError} a commit that meets that of the whole context */
  assertNotCommitting(connectionName: string, verb: string): void {
    if (this.isCommitting && COMMITS.has(verb)) {
      throw new InvalidTransactionStateError(
        this.placeOf(connectionName),
        `${verb}() was called while the whole context is being committed, by a hook of it or by code that ` +
          'nobody awaits. Leave the commit to the context, throw in the hook to undo it, or do the work in ' +
          'dbContext.runInNewContext().',
      );
    }
  }

  /** See {@link SessionObserver.blockerOf}. */
  blockerOf({ connectionName }: Session): UnexpectedRollbackError | undefined {
    return this.rollbackOnlyErrorOf(connectionName);
  }

  /** See {@link SessionObserver.callsBefore}. */
  callsBefore(session: Session): boolean {
    return this.#environment.beforeCommit !== undefined || this.awaitsHook(session);
  }

  /** See {@link SessionObserver.awaitsHook}. */
  awaitsHook({ connectionName }: Session): boolean {
    return this.hasHooks && this.hooks.awaitsCommitOf(connectionName);
  }

  /** See {@link SessionObserver.beforeCommit}. */
  beforeCommit(session: Session): Promise<void> | undefined {
    return this.callsBefore(session) ? this.hooks.beforeCommit(session) : undefined;
  }

  /** See {@link SessionObserver.committed}. */
  committed({ connectionName }: Session): Promise<void> {
    return this.hooks.afterEarlyCommit([connectionName]);
  }

  /** See {@link SessionObserver.besideEnded}. */
  besideEnded({ connectionName }: Session): Promise<void> | undefined {
    return this.hooks.afterBeside(connectionName);
  }

  /** See {@link SessionObserver.rolledBack}. */
  rolledBack(): Promise<void> {
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
