import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { extname } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

import type {
  LocalPostgresCommand,
  LocalPostgresOptions,
  LocalPostgresReport,
} from './local-postgres.protocol.js';

interface Caller {
  resolve(): void;
  reject(error: Error): void;
}

/** The process that `local-postgres.server.ts` is. */
export class LocalPostgresProcess {
  /** What it says once everything runs. */
  readonly report: Promise<LocalPostgresReport>;
  readonly #server: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #gone: Promise<unknown>;
  readonly #callers = new Map<number, Caller>();
  #lastId = 0;

  constructor(options: LocalPostgresOptions) {
    // The same file before and after the build, as whoever imports this one.
    const script = `local-postgres.server${extname(import.meta.url)}`;
    this.#server = spawn(
      process.execPath,
      [fileURLToPath(new URL(script, import.meta.url)), JSON.stringify(options)],
      // A process group of its own: Ctrl-C reaches this process only, which then closes the pipe.
      { detached: true, stdio: ['pipe', 'pipe', 'pipe'] },
    );
    // To a server that has ended nothing can be said; its end is told where it is waited for.
    this.#server.stdin.on('error', () => undefined);
    this.#gone = once(this.#server, 'exit');
    const complaint = text(this.#server.stderr);
    const lines = createInterface({ input: this.#server.stdout });
    this.report = new Promise<LocalPostgresReport>((resolve, reject) => {
      lines.once('line', (line) => {
        lines.on('line', (answer) => this.#settle(answer));
        resolve(JSON.parse(line) as LocalPostgresReport);
      });
      lines.once('close', () => {
        void complaint.then((why) => reject(new Error(`PostgreSQL did not start: ${why}`)));
        this.#callers.forEach((caller) => caller.reject(new Error('PostgreSQL has ended')));
      });
    });
  }

  /** @throws Error when the command fails */
  async obey(command: LocalPostgresCommand): Promise<void> {
    const id = ++this.#lastId;
    await new Promise<void>((resolve, reject) => {
      this.#callers.set(id, { resolve, reject });
      this.#server.stdin.write(`${JSON.stringify({ id, ...command })}\n`);
    });
  }

  /** Stops all servers, also while they start, and removes their data. */
  async stop(): Promise<void> {
    this.#server.stdin.end();
    await this.#gone;
  }

  #settle(line: string): void {
    const { id, error } = JSON.parse(line) as { readonly id: number; readonly error?: string };
    const caller = this.#callers.get(id);
    this.#callers.delete(id);
    if (error === undefined) {
      caller?.resolve();
    } else {
      caller?.reject(new Error(error));
    }
  }
}
