import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

/** A PostgreSQL of its own, beside the one that all specs share. */
export interface SecondServer {
  /** URL of its database `postgres`. */
  readonly url: string;
  /** Stops it, and waits until it is gone. */
  stop(): Promise<void>;
}

/**
 * Starts one more throw-away PostgreSQL; see `postgres.server.ts`.
 *
 * @throws Error with the server's own words when it does not start
 */
export async function startSecondServer(): Promise<SecondServer> {
  const server = spawn(
    process.execPath,
    [fileURLToPath(new URL('postgres.server.ts', import.meta.url))],
    { detached: true, stdio: ['pipe', 'pipe', 'pipe'] },
  );
  const complaint = text(server.stderr);
  for await (const url of createInterface({ input: server.stdout })) {
    return {
      url,
      stop: async () => {
        const gone = once(server, 'exit');
        server.stdin.end();
        await gone;
      },
    };
  }
  throw new Error(`The second PostgreSQL did not start: ${await complaint}`);
}
