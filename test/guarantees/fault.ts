import type { DbContextOptions, ConnectionLimits } from 'nestjs-db-context';

import type { Handler } from './work.js';
import type { Answer, World } from './world.js';

export const TIMES = 20;
export const POOL_SIZE = 5;

/** One row of the table. */
export interface Fault {
  readonly title: string;
  /** The specs that prove what the library does, by their path from the root of the repository. */
  readonly proofs: readonly string[];
  /**
   * How the plain application holds its transaction: `em.transactional()` around the handler; the
   * handler's own `em.begin()` and `em.commit()`; or an interceptor that begins, commits and rolls
   * back, for a handler that returns an Observable.
   * @defaultValue 'transactional'
   */
  readonly unit?: 'transactional' | 'own' | 'interceptor';
  /** Whether each request is of one of two tenants, told to the database by a variable. */
  readonly hasTenants?: boolean;
  /** Of the library's connection, where the fault is about one. */
  readonly limits?: ConnectionLimits;
  readonly options?: DbContextOptions;
  /** Of pg, on both sides. */
  readonly driverOptions?: Record<string, unknown>;
  /** What each request does. */
  readonly handler: (world: World) => Handler;
  /** Before the requests. */
  readonly arrange?: (world: World) => unknown;
  /** How a client asks, where it does not just wait for its answer. */
  readonly ask?: (world: World, key: string) => Promise<Answer>;
  /** Further requests, until those of the fault are answered. */
  readonly meanwhile?: (world: World, isOver: () => boolean) => Promise<readonly Answer[]>;
  /** Keeps the fault from happening to the requests that come after it. */
  readonly stop?: (world: World) => unknown;
  /** What else there is to count, with what it is. */
  readonly count?: (world: World, answers: readonly Answer[]) => readonly [number, string];
}
