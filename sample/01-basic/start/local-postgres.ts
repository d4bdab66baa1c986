import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

/** A PostgreSQL that lives as long as this process. */
export interface LocalPostgres {
  /** The URL of its database, once it accepts connections. */
  readonly url: Promise<string>;
  /** Stops it, also while it starts, and removes its data. */
  stop(): Promise<void>;
}

export function startLocalPostgres(): LocalPostgres {
  const server = spawn(
    process.execPath,
    [fileURLToPath(import.meta.resolve('./local-postgres.server.js'))],
    // A process group of its own: Ctrl-C reaches the sample only, which then closes the pipe.
    { detached: true, stdio: ['pipe', 'pipe', 'pipe'] },
  );
  const gone = once(server, 'exit');
  const complaint = text(server.stderr);

  const firstLine = async (): Promise<string> => {
    for await (const line of createInterface({ input: server.stdout })) {
      return line;
    }
    throw new Error(
      `PostgreSQL did not start: ${await complaint}\n` +
        'To use a server of your own: DATABASE_URL=postgres://user:password@host/database npm start',
    );
  };
  return {
    url: firstLine(),
    stop: async () => {
      server.stdin.end();
      await gone;
    },
  };
}
