import type { DbConnection } from '../connection/db-connection.js';

/**
 * Makes a connection wait for something before it is closed. Jest runs the `afterAll()` that closes the
 * application before that of a block of tests, which has a client of the pool until then.
 *
 * @param before its failure is reported by those who wait for it as well
 * @returns a function that undoes this
 */
export function tapClose(connection: DbConnection, before: () => Promise<void>): () => void {
  const undo = (): void => {
    delete (connection as Partial<DbConnection>).close;
  };
  connection.close = async () => {
    await before().catch(() => undefined);
    undo();
    await connection.close();
  };
  return undo;
}
