import type { MikroORM } from '@mikro-orm/core';

import { ConnectionFailedError } from '../errors.js';
import type { PgClient } from '../postgresql/pg-client.js';
import type { SessionState } from '../postgresql/session-state.js';
import { placeOf, type Claim } from './claim.js';
import { destroyClient } from './destroy-client.js';
import { TIMED_OUT, withinLimit } from './time-limit.js';

type Hook = (connection: HookConnection) => Promise<void>;

/** The argument of MikroORM's connection hooks: the part of Kysely's `DatabaseConnection` they use. */
interface HookConnection {
  executeQuery(query: {
    readonly sql: string;
    readonly parameters: readonly unknown[];
  }): Promise<unknown>;
}

/**
 * Runs MikroORM's options `onCreateConnection` and `onReserveConnection`. MikroORM leaves that to Kysely,
 * but sessions take their clients from the pool without Kysely.
 */
export class ReserveHooks {
  readonly #onCreate: Hook | undefined;
  readonly #onReserve: Hook | undefined;
  readonly #seen = new WeakSet<PgClient>();
  readonly #connectionName: string;
  readonly #limitMs: number;

  /** @param limitMs longest time that the hooks may take for a client, in milliseconds */
  constructor(orm: MikroORM, connectionName: string, limitMs: number) {
    this.#connectionName = connectionName;
    this.#limitMs = limitMs;
    this.#onCreate = orm.config.get('onCreateConnection') as Hook | undefined;
    this.#onReserve = orm.config.get('onReserveConnection') as Hook | undefined;
  }

  /** Whether there are any, so that each client has to wait for {@link ReserveHooks.run}. */
  get areSet(): boolean {
    return this.#onCreate !== undefined || this.#onReserve !== undefined;
  }

  /**
   * @param claim what the client was taken for
   * @param state is told of what the hooks send; what `onCreateConnection` leaves in the session belongs to
   *   all its users, and what `onReserveConnection` leaves to this one
   * @throws {@link ConnectionFailedError} a hook threw, or took too long; the client is destroyed
   */
  async run(client: PgClient, { holder }: Claim, state?: SessionState): Promise<void> {
    const isNew = this.#onCreate !== undefined && !this.#seen.has(client);
    if (!isNew && this.#onReserve === undefined) {
      return;
    }
    const hooks = async (): Promise<void> => {
      if (isNew) {
        await this.setUp(client);
        state?.becomesClean();
      }
      await this.#onReserve?.(connectionOf(client, state));
    };
    const limitMs = this.#limitMs;
    try {
      if ((await withinLimit(hooks(), limitMs)) === TIMED_OUT) {
        throw new Error(`onCreateConnection and onReserveConnection took more than ${limitMs} ms`);
      }
    } catch (error) {
      destroyClient(client);
      throw new ConnectionFailedError(placeOf(this.#connectionName, holder), error);
    }
  }

  /**
   * Runs `onCreateConnection`, also where it has run for the client before: a reset has undone it.
   *
   * @throws what the hook throws
   */
  async setUp(client: PgClient): Promise<void> {
    await this.#onCreate?.(connectionOf(client));
    this.#seen.add(client);
  }
}

function connectionOf(client: PgClient, state?: SessionState): HookConnection {
  return {
    executeQuery: ({ sql, parameters }) => {
      state?.sends(sql);
      return client.query(sql, parameters);
    },
  };
}
