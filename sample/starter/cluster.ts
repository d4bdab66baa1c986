import { LocalPostgresProcess } from './local-postgres.process.js';
import type {
  LocalPostgresOptions,
  LocalPostgresReport,
  ServerName,
} from './local-postgres.protocol.js';

/**
 * A primary PostgreSQL and its streaming standbys, which live as long as this process.
 *
 * The names are those of the start: `'primary'` is the first primary, and a standby keeps its
 * number, whatever becomes of either.
 *
 * @example
 * ```ts
 * const cluster = await Cluster.start();
 * await cluster.kill('primary');
 * await cluster.promote(0);
 * // ... writes go to cluster.standbyUrls[0]
 * await cluster.stop();
 * ```
 */
export class Cluster {
  readonly #process: LocalPostgresProcess;
  readonly #report: LocalPostgresReport;

  private constructor(process: LocalPostgresProcess, report: LocalPostgresReport) {
    this.#process = process;
    this.#report = report;
  }

  /** Starts it with one standby, and waits until that streams. */
  static async start(options: LocalPostgresOptions = {}): Promise<Cluster> {
    const process = new LocalPostgresProcess({ standbys: 1, ...options });
    return new Cluster(process, await process.report);
  }

  /** URL of the database `postgres` of the first primary. */
  get primaryUrl(): string {
    return this.#report.primary;
  }

  /** The same database, on each standby. */
  get standbyUrls(): readonly string[] {
    return this.#report.standbys;
  }

  /** Where all data is, until the end. */
  get directory(): string {
    return this.#report.directory;
  }

  /** Of the servers as they were started first, the primary's before those of the standbys. */
  get processIds(): readonly number[] {
    return this.#report.processIds;
  }

  /** Ends a server as a crash would; when this resolves, no process of it is left. */
  kill(server: ServerName): Promise<void> {
    return this.#process.obey({ do: 'kill', server });
  }

  /** Starts a server again that was killed, as what it was: an old primary is one again. */
  restart(server: ServerName): Promise<void> {
    return this.#process.obey({ do: 'start', server });
  }

  /** Makes a standby a primary, which the standbys that are left then follow. */
  promote(standby: number): Promise<void> {
    return this.#process.obey({ do: 'promote', standby });
  }

  /** Ends all servers, and removes their data. */
  stop(): Promise<void> {
    return this.#process.stop();
  }
}
