import type { Claim, Holder } from '../connection/claim.js';
import type { DbConnection } from '../connection/db-connection.js';
import { tapPool } from '../connection/pool-tap.js';
import type { PgClient, PgPool } from '../postgresql/pg-client.js';
import { tapClose } from './close-tap.js';
import { TestIsolationError } from './errors.js';
import { ask, isOwnRequest } from './own-requests.js';
import { originOf, OutsideTestError, refusalOf, type RefusedWork } from './outside-test-error.js';
import { sayRefused } from './request-refusal.js';
import { ownerAmong, UnknownOwner, type TestOwner } from './test-owner.js';
import { Place, type TestPlace } from './test-place.js';
import { TestRun } from './test-run.js';
import { tapReconnect } from './reconnect-tap.js';

/** Tests that run at the same time. */
export interface ConcurrentBlock {
  /** Whether one of them has begun, so that work may belong to it from now on. */
  readonly hasBegun: boolean;
}

/** What becomes of work that belongs to no test. */
export interface OutsideWatch {
  /** The tests that run at the same time; `undefined` where one runs after another. */
  readonly block: ConcurrentBlock | undefined;
  /**
   * Waits until it is worth to look for a test again.
   *
   * @param owner the test that has ended, of which the work is
   * @param changed resolves when a test has begun, or the watch over the connection has ended
   * @throws {@link OutsideTestError}
   */
  outside(claim: Claim, owner: TestOwner | undefined, changed: Promise<void>): Promise<void>;
  /** Work of a test that has ended was refused, of which nobody else may learn. */
  note(refused: RefusedWork): void;
}

const HAS_BEGUN =
  'one has begun already and not ended. Tests that share a transaction run one after another, unless ' +
  'useTestTransaction() is called with { concurrent: true }.';

/** Why a second transaction cannot begin, by the state of the first one. */
const WHY_TAKEN: Record<Place['state'], string> = {
  begins:
    'another one is about to begin, and has not yet. Its begin() was not awaited, or waits in vain: for the ' +
    'server, for a connection, or for a clock that a test has replaced and forgotten. Tests that begin at the ' +
    'same time need useTestTransaction() with { concurrent: true }.',
  serves: HAS_BEGUN,
  rests: HAS_BEGUN,
};

const routings = new WeakMap<DbConnection, TestRouting>();

/**
 * Decides, while tests use a connection, which client a request for one gets: one of the transaction of the
 * test that the work belongs to, or none, where it belongs to no test (T1).
 */
export class TestRouting {
  readonly #connection: DbConnection;
  readonly #watches: OutsideWatch[] = [];
  /** Those whose tests run, and those of the past, of which work may still be at large. */
  readonly #blocks = new Set<ConcurrentBlock>();
  readonly #places = new Map<TestOwner | undefined, Place>();
  /** The test of a unit of work whose later code runs outside of the async context of that test. */
  readonly #owners = new WeakMap<Holder, TestOwner>();
  #changed = Promise.withResolvers<void>();
  #restore: (() => void) | undefined;
  #tapped: { readonly pool: PgPool; readonly undo: () => void } | undefined;

  private constructor(connection: DbConnection) {
    this.#connection = connection;
  }

  static of(connection: DbConnection): TestRouting {
    let routing = routings.get(connection);
    if (routing === undefined) {
      routing = new TestRouting(connection);
      routings.set(connection, routing);
    }
    return routing;
  }

  /** Number of transactions of the application that are open in those of tests; `undefined` without tests. */
  get openTransactions(): number | undefined {
    if (this.#places.size === 0) {
      return undefined;
    }
    const owner = this.#currentOwner();
    return [...this.#places]
      .filter(([each]) => owner === undefined || each === owner)
      .reduce((sum, [, { served }]) => sum + (served?.openTransactions ?? 0), 0);
  }

  /**
   * Makes work that belongs to no test subject to a watch, the last one that was added.
   *
   * @returns a function that ends this
   * @throws {@link ConnectionClosedError}, {@link ConnectionFailedError}
   */
  async watch(watch: OutsideWatch): Promise<() => void> {
    const { block } = watch;
    this.#watches.push(watch);
    if (block !== undefined) {
      this.#blocks.add(block);
    }
    const stop = (): void => {
      const index = this.#watches.indexOf(watch);
      if (index >= 0) {
        this.#watches.splice(index, 1);
        if (block?.hasBegun === false) {
          this.#blocks.delete(block);
        }
        this.change();
      }
    };
    try {
      await this.intercept();
    } catch (error) {
      stop();
      throw error;
    }
    return stop;
  }

  /**
   * Takes the place of a transaction that is about to begin. Work of its test waits for that from now on.
   *
   * @throws {@link TestIsolationError} it is taken, or tests that run at the same time use the connection
   */
  reserve(owner: TestOwner | undefined): TestPlace {
    // A transaction that serves all tests leaves no room for those of single ones.
    const taken = this.#places.get(owner) ?? this.#places.get(undefined);
    if (taken !== undefined) {
      throw new TestIsolationError(this.#connection.name, WHY_TAKEN[taken.state]);
    }
    if (owner === undefined && this.#watches.some(({ block }) => block !== undefined)) {
      throw new TestIsolationError(
        this.#connection.name,
        'useTestTransaction() was called with { concurrent: true }, and its afterAll() has not run. The tests ' +
          'of that call have transactions of their own. Tests that share a transaction run one after another.',
      );
    }
    const place = new Place(this, this.#connection, () => {
      if (this.#places.get(owner) === place) {
        this.#places.delete(owner);
        this.change();
      }
    });
    this.#places.set(owner, place);
    return place;
  }

  /** Makes those that wait look again, and lets the connection go when nobody uses this any more. */
  change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
    if (this.#watches.length + this.#places.size + this.#blocks.size === 0) {
      this.#restore?.();
      this.#restore = undefined;
      this.#tapped?.undo();
      this.#tapped = undefined;
    }
  }

  /** Has all requests for a client come here, also those for the pool itself, which may be a new one. */
  async intercept(): Promise<void> {
    this.#restore ??= this.#replaceClients();
    const pool = await this.#connection.pool();
    if (pool !== this.#tapped?.pool && this.#restore !== undefined) {
      this.#tapped?.undo();
      const undo = tapPool(pool, () =>
        isOwnRequest()
          ? undefined
          : this.#clientFor({ holder: undefined, isBusy: true }, () => ask(() => pool.connect())),
      );
      this.#tapped = { pool, undo };
    }
  }

  #replaceClients(): () => void {
    const restoreSource = this.#connection.replaceClients((claim, fromPool) =>
      isOwnRequest() ? fromPool() : this.#clientFor(claim, fromPool),
    );
    const restoreClose = tapClose(this.#connection, () => this.#endAll());
    const restoreReconnect = tapReconnect(this.#connection, () => this.#reconnectRefusal());
    return () => {
      restoreSource();
      restoreClose();
      restoreReconnect();
    };
  }

  #reconnectRefusal(): Error | undefined {
    return this.#places.size === 0
      ? undefined
      : new TestIsolationError(
          this.#connection.name,
          'MikroORM was to reconnect, which closes the pool and waits for the connection of the test. Use ' +
            'changeHost() of the connection, or reconnect between two tests.',
        );
  }

  /** Ends the transactions of all tests, each of which has a client of the pool until then. */
  async #endAll(): Promise<void> {
    const all = [...this.#places.values()];
    await Promise.allSettled(all.map(async ({ served }) => served?.end()));
  }

  async #clientFor(claim: Claim, fromPool: () => Promise<PgClient>): Promise<PgClient> {
    try {
      return await this.#route(claim, fromPool);
    } catch (error) {
      if (error instanceof OutsideTestError) {
        sayRefused(error);
      }
      throw error;
    }
  }

  async #route(claim: Claim, fromPool: () => Promise<PgClient>): Promise<PgClient> {
    const holder = claim.holder ?? TestRun.holderHere();
    const run = TestRun.of(holder);
    for (;;) {
      if (run?.isOver === true) {
        throw this.#lateRefusal(claim, holder, run);
      }
      const owner = this.#currentOwner() ?? this.#ownerOf(claim.holder);
      const place = this.#places.get(owner);
      const watch = this.#watchOver(owner);
      const served = place?.servedUnder(watch);
      if (served !== undefined) {
        if (owner !== undefined && claim.holder !== undefined) {
          this.#owners.set(claim.holder, owner);
        }
        return served.clientFor(claim.holder);
      }
      if (place?.state === 'begins') {
        await this.#changed.promise;
      } else if (watch !== undefined) {
        await watch.outside(claim, owner, this.#changed.promise);
      } else if (owner === undefined) {
        return fromPool();
      } else {
        throw refusalOf(this.#connection.name, claim.holder, owner);
      }
    }
  }

  #lateRefusal(claim: Claim, holder: Holder | undefined, run: TestRun): OutsideTestError {
    const origin = originOf(holder);
    const details = {
      origin: claim.holder === undefined ? `a fork or a pool in ${origin}` : origin,
      test: run.name,
    };
    const error = new OutsideTestError(this.#connection.name, 'test-ended', details);
    // The end of the test has named what was open then, but not what else that would do.
    if (claim.holder === undefined || !TestRun.isNamed(holder)) {
      this.#watchOver(undefined)?.note({ error, ...details });
    }
    return error;
  }

  /** That of its own block for the work of a test, and for all other work the last one. */
  #watchOver(owner: TestOwner | undefined): OutsideWatch | undefined {
    return owner === undefined || owner instanceof UnknownOwner
      ? this.#watches.at(-1)
      : this.#watches.find(({ block }) => block === owner.block);
  }

  #currentOwner(): TestOwner | undefined {
    return ownerAmong(this.#blocks);
  }

  #ownerOf(holder: Holder | undefined): TestOwner | undefined {
    for (let each = holder; each !== undefined; each = each.outer) {
      const owner = this.#owners.get(each);
      if (owner !== undefined) {
        return owner;
      }
    }
    return undefined;
  }
}
