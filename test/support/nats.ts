import { describeWith, freePort, startServer } from './server-process.js';

const PROGRAM = 'nats-server';

/** A NATS of its own, on a free port. */
export interface TestNats {
  readonly url: string;
  readonly stop: () => Promise<void>;
}

/** For tests that need a NATS: `apt-get install nats-server`. */
export const describeWithNats = describeWith(PROGRAM, [PROGRAM, '--version']);

/** Starts a NATS. */
export async function startNats(): Promise<TestNats> {
  const port = await freePort();
  const args = ['--addr', '127.0.0.1', '--port', `${port}`];
  const server = await startServer({ program: PROGRAM, args: () => args, port });
  return { url: `nats://127.0.0.1:${port}`, stop: () => server.end() };
}
