import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { run } from '../package/run.mjs';

const START_LIMIT_MS = 60_000;

/** Does what a page says, in one directory, as somebody with a terminal would. */
export class Reader {
  readonly #root: string;
  readonly #env: NodeJS.ProcessEnv;
  /** Commands that hold for the later ones of the same terminal. */
  readonly #remembered: string[] = [];
  #server: ChildProcess | undefined;
  #log = '';

  /**
   * @param root an empty directory
   * @param env environment of the commands
   */
  constructor(root: string, env: NodeJS.ProcessEnv) {
    this.#root = root;
    this.#env = env;
  }

  /** Types a command, and waits for its end. */
  async type(command: string): Promise<string> {
    const output = await run('bash', ['-euc', this.#inTerminal(command)], this.#root, this.#env);
    if (/^(cd|export) /.test(command)) {
      this.#remembered.push(command);
    }
    return output;
  }

  /** Writes a file of the application, whose directory the last `cd` has led to. */
  async write(path: string, text: string): Promise<void> {
    const file = join((await this.type('pwd')).trim(), path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  }

  /**
   * Types a command that goes on running, and waits until it answers.
   *
   * @param url what it serves
   */
  async start(command: string, url: string): Promise<void> {
    const server = spawn('bash', ['-euc', this.#inTerminal(command)], {
      cwd: this.#root,
      env: this.#env,
      // A process group of its own, so that all that npm starts can be ended.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#server = server;
    for (const stream of [server.stdout, server.stderr]) {
      stream.on('data', (data: Buffer) => (this.#log += data.toString()));
    }
    const limit = AbortSignal.timeout(START_LIMIT_MS);
    while (!(await answers(url))) {
      if (limit.aborted || server.exitCode !== null) {
        throw new Error(`"${command}" serves nothing at ${url}:\n${this.#log}`);
      }
    }
  }

  /** Ends what was started. */
  async leave(): Promise<void> {
    const { pid, exitCode } = this.#server ?? {};
    if (this.#server === undefined || pid === undefined || exitCode !== null) {
      return;
    }
    const ended = new Promise((resolve) => this.#server?.once('close', resolve));
    process.kill(-pid, 'SIGTERM');
    await ended;
  }

  #inTerminal(command: string): string {
    return [...this.#remembered, command].join('\n');
  }
}

async function answers(url: string): Promise<boolean> {
  try {
    await fetch(url);
    return true;
  } catch {
    // Between two looks, as a refused connection answers at once.
    await new Promise((resolve) => setTimeout(resolve, 100));
    return false;
  }
}
