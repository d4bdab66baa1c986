import { startServer } from '../test/server.js';

let stop: (() => Promise<void>) | undefined;

/** Node calls these two once for a run: `node --test --test-global-setup=server.setup.js`. */
export async function globalSetup(): Promise<void> {
  stop = await startServer();
}

export async function globalTeardown(): Promise<void> {
  await stop?.();
}
