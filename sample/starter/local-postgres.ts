import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

/** A PostgreSQL that lives as long as this process. */
export interface LocalPostgres<Name extends string> {
  /** The URL of each database, once the server accepts connections. */
  readonly urls: Promise<Readonly<Record<Name, string>>>;
  /** Stops it, also while it starts, and removes its data. */
  stop(): Promise<void>;
}

/** @param names of the databases to create, all empty */
export function startLocalPostgres<Name extends string>(
  names: readonly Name[],
): LocalPostgres<Name> {
  const server = spawn(
    process.execPath,
    [fileURLToPath(import.meta.resolve('./local-postgres.server.js')), ...names],
    // A process group of its own: Ctrl-C reaches the sample only, which then closes the pipe.
    { detached: true, stdio: ['pipe', 'pipe', 'pipe'] },
  );
  const gone = once(server, 'exit');
  const complaint = text(server.stderr);

  const firstLine = async (): Promise<string> => {
    for await (const line of createInterface({ input: server.stdout })) {
      return line;
    }
    throw new Error(`PostgreSQL did not start: ${await complaint}`);
  };
  return {
    urls: firstLine().then((line) => JSON.parse(line) as Record<Name, string>),
    stop: async () => {
      server.stdin.end();
      await gone;
    },
  };
}
