import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { waitFor } from './wait-for.js';

const PROGRAM = 'redis-server';

/** A Redis of its own, on a free port and without files that outlive it. */
export interface TestRedis {
  readonly connection: { readonly host: string; readonly port: number };
  /** Ends the server, as a crash does, and waits for its end. */
  readonly stop: () => Promise<void>;
  /** Starts it again on the same port, empty. */
  readonly restart: () => Promise<void>;
}

/** Whether the program is installed: `apt-get install redis-server`. */
const HAS_REDIS = spawnSync(PROGRAM, ['--version']).status === 0;

/** Declares tests that need a Redis; where the program is missing they are skipped, and say why. */
export function describeWithRedis(title: string, declare: () => void): void {
  if (HAS_REDIS) {
    describe(title, declare);
  } else {
    describe.skip(`${title} (skipped: no ${PROGRAM} is installed)`, declare);
  }
}

/** Starts a Redis. */
export async function startRedis(): Promise<TestRedis> {
  const port = await freePort();
  let server = await launch(port);
  return {
    connection: { host: '127.0.0.1', port },
    stop: () => server.end(),
    restart: async () => {
      server = await launch(port);
    },
  };
}

async function launch(port: number): Promise<{ readonly end: () => Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'test-redis-'));
  const server = spawn(
    PROGRAM,
    ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'],
    { cwd: directory, stdio: 'ignore' },
  );
  const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  await waitFor(() => accepts(port), { what: 'Redis to listen' });
  return {
    end: async () => {
      server.kill('SIGKILL');
      await ended;
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}
