import { InvalidOptionsError } from '../errors.js';
import type { SettlementOutcome } from '../errors.js';
import type { Outcome } from '../outcome.js';
import type { Session } from '../session/session.js';
import type { TransactionPart } from '../transaction/savepoint.js';
import type { Transaction } from '../transaction/transaction.js';
import { HookCalls, type HookCallback, type HookEnvironment, type HookKind } from './hook-calls.js';

/** What adds a hook of each kind, for messages. */
export const HOOK_CALLS: Readonly<Record<HookKind, string>> = {
  beforeCommit: 'dbContext.beforeCommit()',
  onCommit: 'What follows a commit (dbContext.onCommit(), a committed queue, @Ack())',
  onRollback: 'dbContext.onRollback()',
};

interface Hook {
  readonly kind: HookKind;
  readonly callback: HookCallback;
  /** Bound to the transaction of this connection, rather than to the context. */
  readonly connectionName: string | undefined;
  /** The transactions and savepoints that it was registered in; undone with any of them. */
  readonly parts: readonly TransactionPart[];
  /** Whether its transaction is one beside that of the session, of `requires_new`, which ends by itself. */
  readonly isBeside: boolean;
}

const NONE: readonly Hook[] = [];
/** How often hooks may register further ones; it only has to end. */
const MOST_ROUNDS = 100;

/**
 * The hooks of one context. A hook that was registered in a transaction or a savepoint that is
 * rolled back is discarded with it: what it announces has not happened.
 */
export class ContextHooks {
  readonly #environment: HookEnvironment;
  readonly #calls: HookCalls;
  #hooks: readonly Hook[] = NONE;
  #earlyCommits = 0;
  /** The transactions that the option `beforeCommit` was called for: a commit may flush a session several times. */
  #asked: WeakSet<Transaction> | undefined;

  constructor(environment: HookEnvironment, owner: { readonly origin: string }) {
    this.#environment = environment;
    this.#calls = new HookCalls(environment, owner);
  }

  /** Whether none is waiting. */
  get isEmpty(): boolean {
    return this.#hooks.length === 0;
  }

  /** How often a session has been committed before the end of the context. */
  get earlyCommits(): number {
    return this.#earlyCommits;
  }

  /**
   * @param sessions those that the hook is bound to: of its connection, or all of the context
   */
  add(
    kind: HookKind,
    callback: HookCallback,
    sessions: readonly Session[],
    connectionName: string | undefined,
  ): void {
    const parts = sessions.map((session) => session.currentPart);
    const isBeside =
      connectionName !== undefined &&
      sessions.some(({ transaction }, index) => parts[index]?.root !== transaction);
    this.#hooks = [...this.#hooks, { kind, callback, connectionName, parts, isBeside }];
  }

  /**
   * Whether a hook waits for a commit that is to come.
   *
   * @param connectionName the connection that it is bound to; `undefined` for those of all of the context
   */
  awaitsCommitOf(connectionName: string | undefined): boolean {
    return this.#hooks.some(
      (hook) =>
        hook.kind === 'beforeCommit' &&
        hook.connectionName === connectionName &&
        !isDiscarded(hook),
    );
  }

  /**
   * Runs the hooks of the context that have to run before its commit, inside of it.
   *
   * @throws what a hook throws, to veto the commit
   */
  async beforeEnd(): Promise<void> {
    await this.#veto(({ connectionName }) => connectionName === undefined);
  }

  /**
   * Runs what has to run inside the transaction of a session that is about to commit, if anything
   * has to. The option `beforeCommit` concerns only a session that has something to commit.
   *
   * @throws what a hook throws, to veto the commit
   */
  beforeCommit(session: Session): Promise<void> | undefined {
    const { beforeCommit } = this.#environment;
    // Asked only where it matters: the session may have to look through its entities.
    const isCalled =
      beforeCommit !== undefined &&
      this.#asked?.has(session.transaction) !== true &&
      session.hasWork;
    if (isCalled) {
      this.#asked ??= new WeakSet();
      this.#asked.add(session.transaction);
    }
    return !isCalled && this.isEmpty
      ? undefined
      : this.#beforeCommit(session, isCalled ? beforeCommit : undefined);
  }

  async #beforeCommit(
    session: Session,
    beforeCommit: HookEnvironment['beforeCommit'],
  ): Promise<void> {
    if (beforeCommit !== undefined) {
      await this.#calls.before('the beforeCommit option', () => beforeCommit(session));
    }
    await this.#veto(({ connectionName }) => connectionName === session.connectionName);
  }

  /** Runs the hooks that are bound to connections which have been committed early (C5). */
  async afterEarlyCommit(connectionNames: readonly string[]): Promise<void> {
    this.#earlyCommits += connectionNames.length;
    const isDue = ({ connectionName, isBeside }: Hook): boolean =>
      connectionName !== undefined && connectionNames.includes(connectionName) && !isBeside;
    await this.#runAfter(this.#take(isDue), () => 'onCommit');
  }

  /** Runs the hooks that are bound to transactions beside that of a session which have ended, if any are. */
  afterBeside(connectionName: string): Promise<void> | undefined {
    const due = this.#take(
      (hook) =>
        hook.isBeside && hook.connectionName === connectionName && kindBeside(hook) !== undefined,
    );
    return due.length > 0 ? this.#runAfter(due, kindBeside) : undefined;
  }

  /** Runs and discards what was registered in a transaction that has been rolled back early. */
  async afterEarlyRollback(): Promise<void> {
    // Nobody knows whether what these announce has happened.
    this.#take(({ parts }) => hasEnded(parts, 'unknown'));
    const undone = this.#take(({ parts }) => hasEnded(parts, 'rolled-back'));
    await this.#runAfter(undone, () => 'onRollback');
  }

  /** Runs the hooks of connections that were to be committed together, and goes on. */
  async afterEarlyEnd(outcomes: readonly SettlementOutcome[], hasFailed: boolean): Promise<void> {
    const committed = outcomes.filter(({ outcome }) => outcome === 'committed' || !hasFailed);
    if (committed.length > 0) {
      await this.afterEarlyCommit(committed.map(({ connectionName }) => connectionName));
    }
    await this.afterEarlyRollback();
  }

  /**
   * Runs what is left when the context has ended. A hook that is bound to a connection follows the
   * outcome of that one; all others follow the context, which is committed only as a whole (C5).
   */
  async afterEnd(outcomes: readonly SettlementOutcome[], hasFailed: boolean): Promise<void> {
    if (this.isEmpty) {
      return;
    }
    const kindFor = (hook: Hook): HookKind | undefined => {
      if (hook.isBeside) {
        return kindBeside(hook);
      }
      const { connectionName } = hook;
      const own = outcomes.filter((each) => each.connectionName === connectionName);
      const relevant = connectionName === undefined ? outcomes : own;
      if (relevant.some(({ outcome }) => outcome === 'unknown')) {
        // Nobody knows whether what the hook announces has happened.
        return undefined;
      }
      const isCommitted = own.some(({ outcome }) => outcome === 'committed');
      return hasFailed && !isCommitted ? 'onRollback' : 'onCommit';
    };
    await this.#runAfter(
      this.#take(() => true),
      kindFor,
    );
  }

  /** Takes out the hooks of a kind that no rollback to a savepoint has discarded. */
  take(kind: HookKind): readonly HookCallback[] {
    return this.#take((hook) => hook.kind === kind && !isDiscarded(hook)).map(
      ({ callback }) => callback,
    );
  }

  /** See {@link HookCalls.giveUp}. */
  giveUp(): void {
    this.#calls.giveUp();
  }

  #take(isDue: (hook: Hook) => boolean): readonly Hook[] {
    if (this.isEmpty) {
      return NONE;
    }
    const due = this.#hooks.filter(isDue);
    this.#hooks = this.#hooks.filter((hook) => !isDue(hook));
    return due;
  }

  async #veto(isDue: (hook: Hook) => boolean): Promise<void> {
    const take = (): readonly Hook[] =>
      this.#take((hook) => hook.kind === 'beforeCommit' && isDue(hook));
    // A hook may register further ones.
    for (let due = take(), round = 1; due.length > 0; due = take(), round++) {
      if (round > MOST_ROUNDS) {
        throw new InvalidOptionsError(
          'beforeCommit hooks keep registering further ones, so that the commit never comes. Register a ' +
            'hook once, or do the work in the hook itself.',
        );
      }
      for (const hook of due.filter((each) => !isDiscarded(each))) {
        await this.#calls.before('a beforeCommit hook', hook.callback);
      }
    }
  }

  /** One after another; none stops the next, and none changes what has been decided. */
  async #runAfter(
    hooks: readonly Hook[],
    kindFor: (hook: Hook) => HookKind | undefined,
  ): Promise<void> {
    for (const hook of hooks) {
      const { kind, callback } = hook;
      if (kind === kindFor(hook) && !isDiscarded(hook)) {
        await this.#calls.after(kind, callback);
      }
    }
  }
}

/** What a hook does that is bound to a transaction beside that of its session; nothing while that goes on. */
function kindBeside({ parts }: Hook): HookKind | undefined {
  const outcome = parts[0]?.root.outcome;
  return outcome === undefined || outcome === 'unknown'
    ? undefined
    : outcome === 'rolled-back'
      ? 'onRollback'
      : 'onCommit';
}

function hasEnded(parts: readonly TransactionPart[], outcome: Outcome): boolean {
  return parts.some(({ root }) => root.outcome === outcome);
}

/** Whether what it announces has not happened, or has been undone with a savepoint. */
function isDiscarded({ kind, parts }: Hook): boolean {
  return parts.some((part) => (kind === 'onRollback' ? part.isUndoneSavepoint : part.isUndone));
}
