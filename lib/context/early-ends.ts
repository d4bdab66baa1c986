import type { Session } from '../session/session.js';
import type { SessionEnds } from './session-ends.js';
import { closeSessions, CommitPlan, commitSessions, rollbackSessions } from './settlement.js';

const NO_SESSIONS: readonly Session[] = [];

/** What the early ends of a context need of it. */
export interface EndedEarly {
  /** Those that are open, in the order of their first use. */
  readonly sessions: readonly Session[];
  readonly ends: SessionEnds;
  /** @throws why the context must not be committed */
  assertMayCommit(): void;
}

/** Ends of the sessions of a context after which that goes on (C1). */
export class EarlyEnds {
  readonly #context: EndedEarly;
  #commitsUnderWay = 0;
  /** Sessions with work that are being closed: nobody has waited for the loss of it. */
  #closing = NO_SESSIONS;

  constructor(context: EndedEarly) {
    this.#context = context;
  }

  /** Whether a commit has not ended. */
  get isCommitting(): boolean {
    return this.#commitsUnderWay > 0;
  }

  /** A session with work that is being closed. */
  get closing(): Session | undefined {
    return this.#closing[0];
  }

  /** Commits all sessions. */
  async commit(): Promise<void> {
    this.#context.assertMayCommit();
    this.#commitsUnderWay += 1;
    try {
      await this.#commit();
    } finally {
      this.#commitsUnderWay -= 1;
    }
  }

  /** Rolls all sessions back. */
  async rollback(): Promise<void> {
    const { ends, sessions } = this.#context;
    await rollbackSessions(sessions);
    ends.forgetAll();
    await ends.hooks.afterEarlyRollback();
  }

  /** Closes sessions. */
  async close(sessions: readonly Session[]): Promise<void> {
    const { ends } = this.#context;
    sessions.forEach(({ connectionName }) => ends.forgetRollbackOnly(connectionName));
    const closing = sessions.filter((session) => session.hasWork);
    this.#closing = [...this.#closing, ...closing];
    try {
      await closeSessions(sessions);
    } finally {
      this.#closing = this.#closing.filter((session) => !closing.includes(session));
    }
    await ends.hooks.afterEarlyRollback();
  }

  async #commit(): Promise<void> {
    const { ends, sessions } = this.#context;
    const { outcomes, failure } = await commitSessions(
      { list: () => this.#context.sessions, shut: (session) => session.prepare() },
      new CommitPlan(sessions),
    );
    if (failure !== undefined) {
      for (const { connectionName, outcome } of outcomes) {
        if (outcome !== 'committed') {
          ends.failed(connectionName, failure.error);
        }
      }
    }
    await ends.hooks.afterEarlyEnd(outcomes, failure !== undefined);
    if (failure !== undefined) {
      throw failure.error;
    }
  }
}
