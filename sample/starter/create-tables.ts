import type { INestApplicationContext } from '@nestjs/common';
import {
  ConnectionFailedError,
  DbContext,
  getConnectionToken,
  type DbConnection,
} from 'nestjs-db-context';

/**
 * Creates what is missing of the tables of a connection.
 *
 * @param variable of the environment that can name another database, for the message
 * @throws Error when there is no such database
 */
export async function createTables(
  app: INestApplicationContext,
  connectionName: string,
  variable: string,
): Promise<void> {
  await requireDatabase(app.get(DbContext), connectionName, variable);
  // `safe`: on a server of your own, nothing that is there already is dropped.
  const { orm } = app.get<DbConnection>(getConnectionToken(connectionName));
  await orm.schema.update({ safe: true });
}

async function requireDatabase(
  dbContext: DbContext,
  connectionName: string,
  variable: string,
): Promise<void> {
  try {
    await dbContext.run(() => dbContext.session(connectionName).execute('select 1'));
  } catch (error) {
    // 3D000, invalid_catalog_name: https://www.postgresql.org/docs/current/errcodes-appendix.html
    if (error instanceof ConnectionFailedError && sqlState(error.cause) === '3D000') {
      throw new Error(
        `${error.message}\nCreate that database first (createdb), or name another in ${variable}.`,
        { cause: error },
      );
    }
    throw error;
  }
}

function sqlState(error: unknown): unknown {
  return (error as { readonly code?: unknown } | undefined)?.code;
}
