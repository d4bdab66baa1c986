import { AsyncLocalStorage } from 'node:async_hooks';

import type { MikroORM } from '@mikro-orm/core';

import { ConnectionFailedError, DbContextError, type ErrorPlace } from '../errors.js';
import { sharedErrorAt } from './placed-errors.js';

/**
 * Internals of MikroORM by which it creates a database. `test/e2e/ensure-database.spec.ts` fails when an
 * upgrade of MikroORM changes any of them.
 */
interface CreatingConnection {
  connected: boolean;
  ensureConnection(): Promise<void>;
}
interface CreatingGenerator {
  lastEnsuredDatabase: string | undefined;
  createDatabase(name: string, options?: ReconnectOptions): Promise<void>;
}
interface ReconnectOptions {
  readonly skipOnConnect?: boolean;
}

/**
 * Makes MikroORM create the database of a connection (`ensureDatabase`) once, while all others wait: it
 * points the connection at another database meanwhile, and takes it for open from the beginning. That
 * another instance has created the database at the same time is no failure.
 *
 * @param placeHere finds out in which unit of work the calling code waits for the creation
 */
export function createDatabaseOnce(
  { driver, schema, config }: MikroORM,
  placeHere: () => ErrorPlace,
): void {
  const connection = driver.getConnection('write') as unknown as CreatingConnection;
  const generator = schema as unknown as CreatingGenerator;
  const dbName = config.get('dbName');
  /** What the creation itself asks of the connection does not wait for it. */
  const creating = new AsyncLocalStorage<true>();
  const ensure = connection.ensureConnection.bind(connection);
  const create = generator.createDatabase.bind(generator);
  const pointAtOwn = async (options: ReconnectOptions | undefined): Promise<void> => {
    config.set('dbName', dbName);
    await driver.reconnect(options);
  };
  let opening: Promise<void> | undefined;

  const open = async (): Promise<void> => {
    try {
      await creating.run(true, ensure);
    } catch (error) {
      if (config.get('dbName') !== dbName) {
        await pointAtOwn({ skipOnConnect: true });
      }
      // The next request tries again.
      generator.lastEnsuredDatabase = undefined;
      connection.connected = false;
      throw error;
    } finally {
      opening = undefined;
    }
  };

  const waitUntilOpen = async (): Promise<void> => {
    const place = placeHere();
    try {
      await (opening ??= open());
    } catch (error) {
      throw error instanceof DbContextError
        ? sharedErrorAt(place, error)
        : new ConnectionFailedError(place, error);
    }
  };

  connection.ensureConnection = () => {
    const isOpen = connection.connected && opening === undefined;
    return isOpen || creating.getStore() === true ? ensure() : waitUntilOpen();
  };
  generator.createDatabase = async (name, options) => {
    try {
      await create(name, options);
    } catch (error) {
      if (creating.getStore() !== true || !isThereAlready(error)) {
        throw error;
      }
      await pointAtOwn(options);
    }
  };
}

/** Whether CREATE DATABASE has failed since somebody else was faster, also by a moment. */
function isThereAlready(error: unknown): boolean {
  const { code, message } = (error ?? {}) as {
    readonly code?: unknown;
    readonly message?: unknown;
  };
  return (
    code === '42P04' || (code === '23505' && String(message).includes('pg_database_datname_index'))
  );
}
