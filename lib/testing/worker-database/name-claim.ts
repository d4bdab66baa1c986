import { createHash, randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { threadId } from 'node:worker_threads';

import { holderOf, lock, tryLock, unlock } from './advisory-locks.js';
import { DatabaseLink, type RunSql } from './database-link.js';
import { findDatabase } from './database-mark.js';
import type { DatabaseNames } from './database-names.js';
import { WorkerDatabaseError } from './worker-database-error.js';

/** How many names a worker tries. */
const NAMES = 1_000;
/** Longest wait for the end of a connection that was told to end, in milliseconds. */
const TAKE_OVER_TIMEOUT_MS = 5_000;

/** The thread that this is, as the name of an application; the server shows it of each connection. */
const THREAD = `nestjs-db-context ${createHash('sha256').update(hostname()).digest('hex').slice(0, 8)}.${process.pid}.${threadId}`;
/**
 * This load of the module. A test runner loads modules anew for each file, so that a claim of the same
 * thread with another id is one that an earlier file has forgotten.
 */
const APPLICATION_NAME = `${THREAD} ${randomUUID().slice(0, 8)}`;

/**
 * The name of a database that no other process uses at the same time. It lasts as long as an advisory
 * lock of the server, which ends with the process.
 */
export class NameClaim {
  readonly #link: DatabaseLink;
  #name: string | undefined;

  private constructor(link: DatabaseLink) {
    this.#link = link;
  }

  /**
   * Takes the first name that nobody has claimed, and that is not one of a database that the kit has not
   * made. What an earlier file of this thread has claimed and not given back is taken over.
   *
   * @param adminUrl the URL of a database that stays, the same for all processes
   */
  static async take(adminUrl: string, names: DatabaseNames): Promise<NameClaim> {
    const link = await DatabaseLink.open(adminUrl, (run) => claim.#onConnect(run));
    const claim = new NameClaim(link);
    try {
      claim.#name = await link.use((run) => freeName(run, names));
    } catch (error) {
      await link.close();
      throw error;
    }
    return claim;
  }

  get name(): string {
    return this.#name!;
  }

  /**
   * Runs `work` on the connection that has the claim. If it was lost meanwhile, another one claims the name
   * again before.
   *
   * @throws {@link WorkerDatabaseError} another process has taken the name meanwhile
   */
  async use<T>(work: (run: RunSql) => Promise<T>): Promise<T> {
    return this.#link.use(work);
  }

  /** Asks the server whether the name is still claimed, see {@link use}. */
  async verify(): Promise<void> {
    await this.#link.use(() => Promise.resolve());
  }

  /** Gives the name back. */
  async release(): Promise<void> {
    try {
      await this.#link.use((run) => unlock(run, this.name));
    } finally {
      await this.#link.close();
    }
  }

  /** Gives the name back where nothing may be sent any more: it ends with the connection. */
  async abandon(): Promise<void> {
    await this.#link.close();
  }

  async #onConnect(run: RunSql): Promise<void> {
    await run(`select set_config('application_name', $1, false)`, [APPLICATION_NAME]);
    if (this.#name !== undefined && !(await tryLock(run, this.#name))) {
      throw new WorkerDatabaseError(
        'claim',
        this.#name,
        'the connection that kept it for this worker was lost, and another process has taken it',
      );
    }
  }
}

async function freeName(run: RunSql, names: DatabaseNames): Promise<string> {
  for (let attempt = 1; attempt <= NAMES; attempt++) {
    const name = names.worker(attempt);
    if ((await tryLock(run, name)) || (await takeOver(run, name))) {
      if ((await findDatabase(run, name)) !== 'foreign') {
        return name;
      }
      await unlock(run, name);
    }
  }
  throw new WorkerDatabaseError('claim', names.worker(1), `${NAMES} names like it are taken`);
}

/** @returns whether the claim was one that an earlier file of this thread has forgotten */
async function takeOver(run: RunSql, name: string): Promise<boolean> {
  const holder = await holderOf(run, name);
  const isForgotten =
    holder !== undefined &&
    holder.applicationName.startsWith(`${THREAD} `) &&
    holder.applicationName !== APPLICATION_NAME;
  if (isForgotten) {
    await run('select pg_terminate_backend($1)', [holder.backendPid]);
    await lock(run, name, TAKE_OVER_TIMEOUT_MS);
  }
  return isForgotten;
}
