import { describeWith, freePort, startServer } from './server-process.js';

const PROGRAM = 'redis-server';

/** A Redis of its own, on a free port and without files that outlive it. */
export interface TestRedis {
  readonly connection: { readonly host: string; readonly port: number };
  /** Ends the server, as a crash does, and waits for its end. */
  readonly stop: () => Promise<void>;
  /** Starts it again on the same port, empty. */
  readonly restart: () => Promise<void>;
}

/** For tests that need a Redis: `apt-get install redis-server`. */
export const describeWithRedis = describeWith(PROGRAM, [PROGRAM, '--version']);

/** Starts a Redis. */
export async function startRedis(): Promise<TestRedis> {
  const port = await freePort();
  const args = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  const start = () => startServer({ program: PROGRAM, args: () => args, port });
  let server = await start();
  return {
    connection: { host: '127.0.0.1', port },
    stop: () => server.end(),
    restart: async () => {
      server = await start();
    },
  };
}
