import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { text } from 'node:stream/consumers';

const SERVER = new URL('../../sample/starter/local-postgres.server.ts', import.meta.url);
const SETTINGS = [
  'full_page_writes=off',
  'synchronous_commit=off',
  'max_connections=300',
  // See test/faults/support/wire-kind.ts.
  ...(process.env['DB_CONTEXT_FAULT_WIRE'] === 'socket' ? ['unix_socket_directories=.'] : []),
];

/**
 * Starts one PostgreSQL for the whole Jest run and leaves its URL in `DB_CONTEXT_TEST_URL`, from
 * where the workers inherit it. Does nothing when that variable already names a server.
 *
 * @throws Error with the server's own words when it does not start
 */
export default async function startPostgres(): Promise<void> {
  if (process.env['DB_CONTEXT_TEST_URL'] !== undefined) return;

  const isLogged = process.env['DB_CONTEXT_TEST_LOG'] !== undefined;
  // Jest maps no `.js` to `.ts` in a global setup, so the client of the samples is out of reach.
  const server = spawn(
    process.execPath,
    [fileURLToPath(SERVER), JSON.stringify({ settings: SETTINGS, isLogged })],
    // A process group of its own: Ctrl-C reaches Jest only, and the closing pipe does the rest.
    { detached: true, stdio: ['pipe', 'pipe', 'pipe'] },
  );
  if (isLogged) server.stderr.pipe(process.stderr);
  const errorOutput = text(server.stderr);

  for await (const line of createInterface({ input: server.stdout })) {
    process.env['DB_CONTEXT_TEST_URL'] = (JSON.parse(line) as { primary: string }).primary;
    break;
  }
  if (process.env['DB_CONTEXT_TEST_URL'] === undefined) {
    throw new Error(`The test PostgreSQL did not start: ${await errorOutput}`);
  }
  Object.assign(globalThis, { [Symbol.for('nestjs-db-context:test-postgres')]: server });
}
