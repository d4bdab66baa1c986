import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

import { HOST } from './port.js';

const PROGRAM = 'redis-server';
const LOOK_INTERVAL_MS = 20;

/** Whether a Redis can be started. */
export function isRedisInstalled(): boolean {
  return spawnSync(PROGRAM, ['--version']).status === 0;
}

/** A Redis that keeps nothing on disk, and ends with this process. */
export class LocalRedis {
  readonly port: number;
  readonly #server: ChildProcess;

  private constructor(port: number, server: ChildProcess) {
    this.port = port;
    this.#server = server;
  }

  /** Starts it, and waits until it listens. */
  static async start(): Promise<LocalRedis> {
    const port = await freePort();
    const server = spawn(
      PROGRAM,
      ['--port', `${port}`, '--bind', HOST, '--save', '', '--appendonly', 'no'],
      { cwd: tmpdir(), stdio: 'ignore' },
    );
    process.once('exit', () => server.kill());
    while (server.exitCode === null && !(await accepts(port))) {
      await sleep(LOOK_INTERVAL_MS);
    }
    if (server.exitCode !== null) {
      throw new Error(`${PROGRAM} ended with ${server.exitCode} as it started.`);
    }
    return new LocalRedis(port, server);
  }

  /** Ends it. */
  async stop(): Promise<void> {
    const ended = once(this.#server, 'exit');
    this.#server.kill();
    await ended;
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, HOST);
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, HOST);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
