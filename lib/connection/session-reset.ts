import { named } from '../errors.js';
import { cancelBackend } from '../postgresql/cancel-request.js';
import { forgetPrepared, clientsOf, type PgClient, type PgPool } from '../postgresql/pg-client.js';
import { SessionState } from '../postgresql/session-state.js';
import type { Placed } from './claim.js';
import { destroyClient, destroyClientAfter } from './destroy-client.js';
import { TIMED_OUT, withinLimit } from './time-limit.js';

/** When a connection is reset before another user gets it, see {@link DbConnectionOptions}. */
export type ResetMode = 'auto' | 'always' | 'never';

/** What a reset needs of the connection that it is for. */
interface ResetDependencies {
  readonly mode: Exclude<ResetMode, 'never'>;
  readonly connectionName: string;
  /** Longest time of a reset, in milliseconds. */
  readonly limitMs: number;
  /** Sets the session of a client up again, as for a new one. */
  readonly setUp: (client: PgClient) => Promise<void>;
  readonly report: (message: string, error: unknown) => void;
  /** Called with the statement that was sent, and how long it took in milliseconds. */
  readonly onStatement: (sql: string, tookMs: number) => void;
}

const DISCARD_ALL = 'discard all';

/** How many listeners of the event `connect` a pool of MikroORM has by itself; they send nothing. */
const LISTENERS_OF_MIKRO_ORM = 1;

/** What is known of the sessions of clients, whichever connection looks at their pool. */
const states = new WeakMap<PgClient, SessionState>();

/**
 * Keeps what one user of a pooled connection leaves in its session from the next one (F7): it is reset
 * before it goes back into the pool, or destroyed. What those leave who do not give it back through the
 * library is reset before the library uses it.
 */
export class SessionReset {
  readonly #dependencies: ResetDependencies;
  readonly #pools = new WeakSet<PgPool>();

  constructor(dependencies: ResetDependencies) {
    this.#dependencies = dependencies;
  }

  /** Looks at the clients of a pool from now on. */
  watch(pool: PgPool): void {
    if (this.#pools.has(pool)) {
      return;
    }
    this.#pools.add(pool);
    const isSetUp = pool.options.onConnect !== undefined;
    const mayBeSetUp = isSetUp || pool.listenerCount('connect') > LISTENERS_OF_MIKRO_ORM;
    for (const client of clientsOf(pool)) {
      // One that is still connecting has no process id, and has been used by nobody.
      if (client.processID !== null && !states.has(client)) {
        states.set(client, new SessionState(client.connection, 'changed', mayBeSetUp));
      }
    }
    pool.on('connect', (client) => {
      if (!states.has(client)) {
        states.set(client, SessionState.ofNew(client, isSetUp));
      }
    });
  }

  /** What is known of the session of a client. */
  stateOf(client: PgClient): SessionState | undefined {
    return states.get(client);
  }

  /**
   * Resets a client that another user has left something in.
   *
   * @returns whether the client can be used, and is not destroyed; `undefined` where nothing is to be done
   */
  beforeUse(client: PgClient): Promise<boolean> | undefined {
    // Whoever has left it is not known, and is not who uses the client next.
    return this.#resetIfUsed(client);
  }

  /**
   * As {@link SessionReset.beforeUse}, for what the library itself has sent.
   *
   * @param user what has sent it, for the report of a reset that fails
   */
  afterUse(client: PgClient, user?: Placed): Promise<boolean> | undefined {
    states.get(client)?.handedOn();
    return this.#resetIfUsed(client, user);
  }

  #resetIfUsed(client: PgClient, user?: Placed): Promise<boolean> | undefined {
    const state = states.get(client);
    return state !== undefined && (state.remains !== 'nothing' || this.#isUsed(state))
      ? this.#reset(client, state, user)
      : undefined;
  }

  #isUsed({ isUsed }: SessionState): boolean {
    return isUsed && this.#dependencies.mode === 'always';
  }

  async #reset(client: PgClient, state: SessionState, user: Placed | undefined): Promise<boolean> {
    if (!state.isResettable) {
      destroyClient(client);
      return false;
    }
    const { limitMs, setUp, onStatement } = this.#dependencies;
    const startedAt = performance.now();
    const reset = async (): Promise<void> => {
      await client.query(DISCARD_ALL);
      onStatement(DISCARD_ALL, Math.round(performance.now() - startedAt));
      forgetPrepared(client);
      await setUp(client);
    };
    try {
      if ((await withinLimit(reset(), limitMs)) === TIMED_OUT) {
        this.#report(user, new Error(`no answer within ${limitMs} ms`));
        destroyClientAfter(client, cancelBackend(client));
        return false;
      }
    } catch (error) {
      this.#report(user, error);
      destroyClient(client);
      return false;
    }
    state.becomesClean();
    return true;
  }

  #report(user: Placed | undefined, error: unknown): void {
    const { connectionName, report } = this.#dependencies;
    report(
      `the session state of a client of connection ${named(user?.place ?? connectionName)} could not be reset, so the client ` +
        'was closed',
      error,
    );
  }
}
