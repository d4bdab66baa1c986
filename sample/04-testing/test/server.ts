import { startLocalPostgres } from '../../starter/local-postgres.js';

/**
 * Starts the one server of a whole test run, and names it in `DB_CONTEXT_TEST_URL`, which the worker
 * processes inherit. Does nothing where that names one already.
 *
 * @returns a function that stops it
 */
export async function startServer(): Promise<() => Promise<void>> {
  if (process.env['DB_CONTEXT_TEST_URL'] !== undefined) {
    return () => Promise.resolve();
  }
  const postgres = startLocalPostgres(['shop']);
  const { shop } = await postgres.urls;
  process.env['DB_CONTEXT_TEST_URL'] = shop;
  return () => postgres.stop();
}
