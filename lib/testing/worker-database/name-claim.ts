import { setTimeout as sleep } from 'node:timers/promises';

import { holderOf, lock, tryLock, unlock } from './advisory-locks.js';
import { applicationNameOf, isForgotten, newHolder } from './database-holder.js';
import { DatabaseLink, type RunSql } from './database-link.js';
import { findDatabase, markHolder } from './database-mark.js';
import type { DatabaseNames } from './database-names.js';
import { isLeftBehind } from './left-behind.js';
import { WorkerDatabaseError } from './worker-database-error.js';

/** How many names a worker tries. */
const NAMES = 1_000;
/** Longest wait for the end of a connection that was told to end, in milliseconds. */
const TAKE_OVER_TIMEOUT_MS = 5_000;

/**
 * Waits between attempts to take a lock again, in milliseconds: the first one, and the longest. They double.
 */
const RETAKE_WAITS_MS = { first: 25, longest: 400 };

/**
 * The name of a database that no other process uses at the same time. It lasts as long as an advisory
 * lock of the server, which ends with the process.
 */
export class NameClaim {
  readonly holder = newHolder();
  readonly #link: DatabaseLink;
  #name: string | undefined;
  /** Whether the database has the mark of the holder, so that one with another mark was taken away. */
  #isMarked = false;
  /** Why the name is not that of this claim any more, as long as no use of it has found otherwise. */
  #loss: WorkerDatabaseError | undefined;
  #isRetaking = false;
  #hasEnded = false;

  private constructor(link: DatabaseLink) {
    this.#link = link;
  }

  /**
   * Takes the first name that nobody has claimed, and that is not one of a database that the kit has not
   * made, or that somebody still uses. What an earlier file of this thread has claimed and not given back is
   * taken over.
   *
   * @param adminUrl the URL of a database that stays, the same for all processes
   */
  static async take(adminUrl: string, names: DatabaseNames): Promise<NameClaim> {
    const link = await DatabaseLink.open(adminUrl, {
      onConnect: (run) => claim.#onConnect(run),
      onLost: () => void claim.#retake(),
    });
    const claim = new NameClaim(link);
    try {
      claim.#name = await link.use((run) => freeName(run, names));
    } catch (error) {
      await claim.abandon();
      throw error;
    }
    return claim;
  }

  get name(): string {
    return this.#name!;
  }

  /** @throws {@link WorkerDatabaseError} it is known that another process has taken the name */
  assertHeld(): void {
    if (this.#loss !== undefined) {
      throw this.#loss;
    }
  }

  /** Marks the database, which is as the template is, as that of the holder. */
  async mark(): Promise<void> {
    await this.use((run) => markHolder(run, this.name, this.holder));
    this.expectMark();
  }

  /** From now on the database has the mark of the holder. */
  expectMark(): void {
    this.#isMarked = true;
  }

  /** Takes the mark off the database, which the next that asks for it may have. */
  async unmark(): Promise<void> {
    await this.use(async (run) => {
      this.#isMarked = false;
      await markHolder(run, this.name, undefined);
    });
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
      await this.abandon();
    }
  }

  /** Gives the name back where nothing may be sent any more: it ends with the connection. */
  async abandon(): Promise<void> {
    this.#hasEnded = true;
    await this.#link.close();
  }

  async #onConnect(run: RunSql): Promise<void> {
    await run(`select set_config('application_name', $1, false)`, [applicationNameOf(this.holder)]);
    if (this.#name === undefined) {
      return;
    }
    if (!(await this.#isStillHeld(run, this.#name))) {
      this.#loss = new WorkerDatabaseError(
        'claim',
        this.#name,
        'the connection that kept it for this worker was lost, and another process has taken it',
      );
      throw this.#loss;
    }
    this.#loss = undefined;
  }

  /** Takes the lock again, and looks whether another process has had it meanwhile. */
  async #isStillHeld(run: RunSql, name: string): Promise<boolean> {
    const ownName = applicationNameOf(this.holder);
    const isTaken =
      (await tryLock(run, name)) || (await takeOver(run, name, (each) => each === ownName));
    if (!isTaken || !this.#isMarked) {
      return isTaken;
    }
    const found = await findDatabase(run, name);
    const isOwn =
      found === undefined ||
      (found !== 'foreign' && found.mark.holder?.claim === this.holder.claim);
    if (!isOwn) {
      await unlock(run, name);
    }
    return isOwn;
  }

  /** Takes the lock again when its connection has ended, as by a restart of the server. */
  async #retake(): Promise<void> {
    if (this.#isRetaking || this.#name === undefined) {
      return;
    }
    this.#isRetaking = true;
    let waitMs = RETAKE_WAITS_MS.first;
    let isHeld = false;
    while (!isHeld && !this.#hasEnded && this.#loss === undefined) {
      // A later file of this thread that takes the name over ends the connection, and is to be the first. One
      // that forgets to close its database must not keep the process alive.
      await sleep(waitMs, undefined, { ref: false });
      waitMs = Math.min(waitMs * 2, RETAKE_WAITS_MS.longest);
      isHeld = await this.verify().then(
        () => true,
        () => false,
      );
    }
    this.#isRetaking = false;
  }
}

async function freeName(run: RunSql, names: DatabaseNames): Promise<string> {
  for (let attempt = 1; attempt <= NAMES; attempt++) {
    const name = names.worker(attempt);
    if ((await tryLock(run, name)) || (await takeOver(run, name, isForgotten))) {
      const found = await findDatabase(run, name);
      if (found === 'foreign') {
        await unlock(run, name);
      } else if (await isLeftBehind(run, name, found?.mark.holder)) {
        return name;
      }
    }
  }
  throw new WorkerDatabaseError('claim', names.worker(1), `${NAMES} names like it are taken`);
}

/**
 * Takes the lock of a name from the connection that has it.
 *
 * @param isTakable whether it may be taken from the connection with this name of an application
 * @returns whether it was
 */
async function takeOver(
  run: RunSql,
  name: string,
  isTakable: (applicationName: string) => boolean,
): Promise<boolean> {
  const holder = await holderOf(run, name);
  if (holder === undefined) {
    // A connection that ends has given it back meanwhile, or this role may not see who has it.
    return tryLock(run, name);
  }
  const isTaken = isTakable(holder.applicationName);
  if (isTaken) {
    await run('select pg_terminate_backend($1)', [holder.backendPid]);
    await lock(run, name, TAKE_OVER_TIMEOUT_MS);
  }
  return isTaken;
}
