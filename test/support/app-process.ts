import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';

/** How a process ended. */
export interface ProcessEnd {
  /** `null` when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** An application in a process of its own, started from its source. */
export class AppProcess {
  /** What it printed first. */
  readonly url: string;
  /** Resolves as it ends. */
  readonly ended: Promise<ProcessEnd>;
  readonly #child: ChildProcess;

  private constructor(url: string, ended: Promise<ProcessEnd>, child: ChildProcess) {
    this.url = url;
    this.ended = ended;
    this.#child = child;
  }

  /**
   * @param file its source, relative to the root of the project, which is the working directory
   * @param options given to it as JSON
   * @throws Error with what it wrote on standard error, when it ends before it has printed its URL
   */
  static async start(file: string, options: unknown): Promise<AppProcess> {
    const child = spawn(
      process.execPath,
      ['--import', './test/support/typescript.register.mjs', file, JSON.stringify(options)],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    const ended = once(child, 'exit').then(([code, signal]: unknown[]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
    }));
    const errorOutput = text(child.stderr);
    for await (const url of createInterface({ input: child.stdout })) {
      return new AppProcess(url, ended, child);
    }
    throw new Error(`The application did not start: ${await errorOutput}`);
  }

  /** Asks it to end. */
  terminate(): void {
    this.#child.kill('SIGTERM');
  }

  /** Ends it, if it runs. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.ended;
  }
}
