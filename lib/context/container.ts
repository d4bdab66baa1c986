import {
  InvalidTransactionStateError,
  SessionClosedError,
  UnexpectedRollbackError,
  UnknownConnectionError,
} from '../errors.js';
import type { SessionFactory } from '../session/session-factory.js';
import type { Session } from '../session/session.js';
import { closeSessions, commitSessions, type SessionGroup } from './settlement.js';

/** How a context is to end. */
export type Decision = 'commit' | 'rollback';

/**
 * The sessions of one unit of work: at most one per connection, made on first use (M1), settled
 * exactly once (S4).
 */
export class DbContainer implements SessionGroup {
  readonly #factories: ReadonlyMap<string, SessionFactory>;
  readonly #sessions = new Map<string, Session>();
  #settlement: { readonly decision: Decision; readonly done: Promise<void> } | undefined;
  /** The first connection whose work a rollback undid; a later wish to commit must hear of it. */
  #undone: string | undefined;
  #isClosed = false;

  constructor(factories: ReadonlyMap<string, SessionFactory>) {
    this.#factories = factories;
  }

  /** Whether it gives out no sessions any more: its gates are shut. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The sessions that are open, in the order of their first use. */
  get sessions(): readonly Session[] {
    return [...this.#sessions.values()].filter((session) => !session.isClosed);
  }

  /** Whether a transaction is open, or a commit will open one to write what was only persisted. */
  get hasWork(): boolean {
    return this.sessions.some((session) => session.hasBegun || session.hasPendingChanges);
  }

  /**
   * The session of a connection, made on first use and again after it was closed.
   *
   * @throws {@link SessionClosedError} the context has been settled
   * @throws {@link UnknownConnectionError}
   */
  session(name: string): Session {
    const existing = this.#sessions.get(name);
    if (this.#isClosed) {
      throw new SessionClosedError(name);
    }
    if (existing !== undefined && !existing.isClosed) {
      return existing;
    }
    const session = this.factory(name).create();
    // A session that was closed early counts as used anew, at the end of the order.
    this.#sessions.delete(name);
    this.#sessions.set(name, session);
    return session;
  }

  /** The session of a connection, if it has one. */
  existing(name: string): Session | undefined {
    const session = this.#sessions.get(name);
    return session?.isClosed === true ? undefined : session;
  }

  /** @throws {@link InvalidTransactionStateError} there is a session already */
  put(name: string, session: Session): void {
    if (this.#isClosed) {
      throw new SessionClosedError(name);
    }
    if ((this.existing(name) ?? session) !== session) {
      throw new InvalidTransactionStateError(
        name,
        'the context has a session already. Take it out with popSession() first.',
      );
    }
    this.#sessions.set(name, session);
  }

  /** Takes a session out of the context, which then no longer settles it. */
  pop(name: string): Session | undefined {
    const session = this.existing(name);
    this.#sessions.delete(name);
    return session;
  }

  /** @throws {@link UnknownConnectionError} */
  factory(name: string): SessionFactory {
    const factory = this.#factories.get(name);
    if (factory === undefined) {
      throw new UnknownConnectionError(name, [...this.#factories.keys()]);
    }
    return factory;
  }

  /**
   * Ends the context. The first call decides; a later one waits for it.
   *
   * @throws what {@link commitSessions} throws
   * @throws {@link UnexpectedRollbackError} a commit was asked for after somebody else (client
   *   gone, shutdown) had rolled back
   */
  async settle(decision: Decision): Promise<void> {
    if (this.#settlement !== undefined) {
      if (decision === 'rollback' && !this.#isClosed) {
        // A commit that hangs in its flush would hold this up.
        await closeSessions(this.sessions);
      }
      await this.#settlement.done;
      if (decision === 'commit' && this.#undone !== undefined) {
        throw new UnexpectedRollbackError(this.#undone, 'context-ended');
      }
      return;
    }
    const done = decision === 'commit' ? this.#commit() : this.#rollback();
    this.#settlement = { decision, done };
    await done;
  }

  /** From here on the context gives out no session: it would not be settled any more. */
  onShut(): void {
    this.#isClosed = true;
  }

  async #commit(): Promise<void> {
    await commitSessions(this, true);
  }

  async #rollback(): Promise<void> {
    this.#isClosed = true;
    // Also where no statement was sent: what was only persisted is lost as well.
    this.#undone = this.sessions[0]?.connectionName;
    await closeSessions(this.sessions);
  }
}
