import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** Stops the server that the global setup started, if it did, and waits until it is gone. */
export default async function stopPostgres(): Promise<void> {
  const shared = globalThis as { [key: symbol]: ChildProcess | undefined };
  const server = shared[Symbol.for('nestjs-db-context:test-postgres')];
  if (server === undefined || server.exitCode !== null) return;

  const gone = once(server, 'exit');
  server.stdin?.end();
  await gone;
  // In watch mode the next run must start a server of its own again.
  delete process.env['DB_CONTEXT_TEST_URL'];
}
