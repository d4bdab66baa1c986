import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';

/** The binary, if it is installed. */
export function findPgBouncer(): string | undefined {
  // Where Debian puts it is on the PATH of root only.
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin'];
  return folders.map((folder) => join(folder, 'pgbouncer')).find((file) => existsSync(file));
}

/** A PgBouncer in transaction mode, in front of all databases of a server. */
export class PgBouncer {
  /** `host:port` that it listens on. */
  readonly address: string;
  readonly #process: ChildProcess;
  readonly #directory: string;
  #log = '';

  private constructor(address: string, process: ChildProcess, directory: string) {
    this.address = address;
    this.#process = process;
    this.#directory = directory;
  }

  /**
   * @param serverUrl the server behind it, with the role that it logs in as for every client
   * @param owner whom it runs as
   */
  static async start(
    binary: string,
    serverUrl: string,
    { uid, gid }: { readonly uid: number; readonly gid: number },
  ): Promise<PgBouncer> {
    const server = new URL(serverUrl);
    const port = await freePort();
    const directory = await mkdtemp(join(tmpdir(), 'nestjs-db-context-pgbouncer-'));
    await chmod(directory, 0o755);
    const file = join(directory, 'pgbouncer.ini');
    await writeFile(
      file,
      `[databases]
* = host=${server.hostname} port=${server.port} user=${server.username} password=${server.password}

[pgbouncer]
pool_mode = transaction
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
max_client_conn = 500
default_pool_size = 50
`,
    );
    const child = spawn(binary, [file], { uid, gid, stdio: ['ignore', 'ignore', 'pipe'] });
    const pgbouncer = new PgBouncer(`127.0.0.1:${port}`, child, directory);
    // Where this process ends without stop().
    process.once('exit', () => {
      child.kill();
      rmSync(directory, { recursive: true, force: true });
    });
    const isUp = await new Promise<boolean>((resolve) => {
      const lines = createInterface({ input: child.stderr });
      lines.on('line', (line) => {
        pgbouncer.#log = `${pgbouncer.#log}${line}\n`.slice(-4_000);
        if (line.includes('process up')) resolve(true);
      });
      lines.once('close', () => resolve(false));
    });
    if (!isUp) {
      throw new Error(`pgbouncer did not start: ${await pgbouncer.stop()}`);
    }
    return pgbouncer;
  }

  /**
   * Stops it, and removes what it has on disk.
   *
   * @returns how it had ended before, if it had
   */
  async stop(): Promise<string | undefined> {
    const { exitCode, signalCode } = this.#process;
    const hasEnded = exitCode !== null || signalCode !== null;
    if (!hasEnded) {
      const gone = once(this.#process, 'exit');
      this.#process.kill('SIGTERM');
      await gone;
    }
    await rm(this.#directory, { recursive: true });
    return hasEnded ? `${signalCode ?? exitCode}: ${this.#log.slice(-600)}` : undefined;
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  await once(probe.close(), 'close');
  return port;
}
