import type { MikroORM } from '@mikro-orm/core';

import { ConnectionFailedError } from '../errors.js';
import { destroyClient, type PgClient } from './pg-client.js';

type Hook = (connection: HookConnection) => Promise<void>;

/** What MikroORM's connection hooks are given: enough of Kysely's `DatabaseConnection`. */
interface HookConnection {
  executeQuery(query: {
    readonly sql: string;
    readonly parameters: readonly unknown[];
  }): Promise<unknown>;
}

/**
 * Runs MikroORM's options `onCreateConnection` and `onReserveConnection`. MikroORM leaves them to
 * Kysely's pool handling, which a session does not go through.
 */
export class ReserveHooks {
  readonly #onCreate: Hook | undefined;
  readonly #onReserve: Hook | undefined;
  readonly #seen = new WeakSet<PgClient>();

  constructor(orm: MikroORM) {
    this.#onCreate = orm.config.get('onCreateConnection') as Hook | undefined;
    this.#onReserve = orm.config.get('onReserveConnection') as Hook | undefined;
  }

  /** @throws {@link ConnectionFailedError} a hook threw; the client is destroyed */
  async run(client: PgClient, connectionName: string): Promise<void> {
    const isNew = this.#onCreate !== undefined && !this.#seen.has(client);
    if (!isNew && this.#onReserve === undefined) {
      return;
    }
    const connection: HookConnection = {
      executeQuery: ({ sql, parameters }) => client.query(sql, parameters),
    };
    try {
      if (isNew) {
        await this.#onCreate?.(connection);
        this.#seen.add(client);
      }
      await this.#onReserve?.(connection);
    } catch (error) {
      destroyClient(client);
      throw new ConnectionFailedError(connectionName, error);
    }
  }
}
