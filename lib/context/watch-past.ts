import type { DbConnection } from '../connection/db-connection.js';
import { ambientManager } from '../session/ambient.js';
import { observeStatementsPast } from '../session/statements-past.js';
import type { Context } from './context.js';
import type { ContextWatch } from './watch.js';

/**
 * Makes the watch see what is written on a connection past the sessions of its contexts.
 *
 * @param active the context that the current code runs in
 * @returns a function that stops this
 */
export function watchPast(
  connection: DbConnection,
  watch: ContextWatch,
  active: () => Context | undefined,
): () => void {
  const { orm, telemetry, globalEntityManager, preparation } = connection;
  return observeStatementsPast(orm, (statement) => {
    // A transaction is begun on purpose, unless orm.em was to stay what it is without this library.
    const isTransaction = statement.isInTransaction && globalEntityManager === 'session';
    const context = preparation.isInHook ? undefined : active();
    if (context !== undefined) {
      // In a request context of MikroORM that the code has entered, all works on that one.
      const ambient = ambientManager(orm.config, context);
      watch.sentPast(context.telemetry, telemetry, statement, { isMeant: isTransaction, ambient });
    }
  });
}
