import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { text } from 'node:stream/consumers';

/**
 * Starts one PostgreSQL for the whole Jest run and leaves its URL in `DB_CONTEXT_TEST_URL`, from
 * where the workers inherit it. Does nothing when that variable already names a server.
 *
 * @throws Error with the server's own words when it does not start
 */
export default async function startPostgres(): Promise<void> {
  if (process.env['DB_CONTEXT_TEST_URL'] !== undefined) return;

  const server = spawn(
    process.execPath,
    [fileURLToPath(new URL('postgres.server.ts', import.meta.url))],
    // A process group of its own: Ctrl-C reaches Jest only, and the closing pipe does the rest.
    { detached: true, stdio: ['pipe', 'pipe', 'pipe'] },
  );
  if (process.env['DB_CONTEXT_TEST_LOG'] !== undefined) server.stderr.pipe(process.stderr);
  const complaint = text(server.stderr);

  for await (const line of createInterface({ input: server.stdout })) {
    process.env['DB_CONTEXT_TEST_URL'] = line;
    break;
  }
  if (process.env['DB_CONTEXT_TEST_URL'] === undefined) {
    throw new Error(`The test PostgreSQL did not start: ${await complaint}`);
  }
  Object.assign(globalThis, { [Symbol.for('nestjs-db-context:test-postgres')]: server });
}
