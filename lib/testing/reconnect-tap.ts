import type { DbConnection } from '../connection/db-connection.js';
import { replaceMethod } from '../connection/replace-method.js';

/**
 * Refuses `orm.reconnect()` for as long as `refusal` has an error for it.
 *
 * @returns a function that undoes this
 */
export function tapReconnect({ orm }: DbConnection, refusal: () => Error | undefined): () => void {
  const { driver } = orm;
  return replaceMethod(driver, 'reconnect', (before) => async (options) => {
    const refused = refusal();
    if (refused !== undefined) {
      throw refused;
    }
    return before.call(driver, options);
  });
}
