import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { waitFor } from './wait-for.js';

/** How long the slowest of them, RabbitMQ, may take to listen on a busy machine. */
const START_TIMEOUT_MS = 90_000;

/** A server to be started for a test. */
export interface ServerCommand {
  readonly program: string;
  /** @param directory a new directory of its own, which is removed at its end */
  readonly args: (directory: string) => readonly string[];
  readonly env?: (directory: string) => NodeJS.ProcessEnv;
  /** Where it listens, on 127.0.0.1. */
  readonly port: number;
}

/** A server that was started for a test. */
export interface ServerProcess {
  /** Ends it, as a crash does, and waits for its end. */
  readonly end: () => Promise<void>;
}

/** Starts a server as a child of this process, and waits until it listens. */
export async function startServer(command: ServerCommand): Promise<ServerProcess> {
  const { program, port } = command;
  const directory = await mkdtemp(join(tmpdir(), 'test-server-'));
  const server = spawn(program, command.args(directory), {
    cwd: directory,
    env: { ...process.env, ...command.env?.(directory) },
    stdio: 'ignore',
  });
  const ended = once(server, 'exit');
  let hasEnded = false;
  void ended.then(() => (hasEnded = true));
  const end = async (): Promise<void> => {
    server.kill('SIGKILL');
    await ended;
    await rm(directory, { recursive: true, force: true });
  };
  try {
    await waitFor(async () => hasEnded || (await accepts(port)), {
      what: `${program} to listen`,
      timeoutMs: START_TIMEOUT_MS,
    });
  } catch (error) {
    await end();
    throw error;
  }
  if (hasEnded) {
    throw new Error(`${program} ended as it started`);
  }
  return { end };
}

/** Declares tests: `describe`, or something in its place. */
export type Describe = (title: string, declare: () => void) => void;

/**
 * `describe` for tests that need a program; where it is missing they are skipped, and say why.
 *
 * @param command succeeds where it is installed
 */
export function describeWith(program: string, command: readonly [string, ...string[]]): Describe {
  const [question, ...args] = command;
  const isInstalled = spawnSync(question, args, { stdio: 'ignore' }).status === 0;
  return (title, declare) =>
    isInstalled
      ? describe(title, declare)
      : describe.skip(`${title} (skipped: no ${program} is installed)`, declare);
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
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
