import type { ConnectionLimits, DbContextOptions } from 'nestjs-db-context';

export const POOL_SIZE = 5;

/** How the two applications are set up for a fault. */
export interface Setup {
  /**
   * How the plain application holds its transaction: `em.transactional()` around the handler; the
   * handler's own `em.begin()` and `em.commit()`; or an interceptor that begins, commits and rolls
   * back, for a handler that returns an Observable.
   * @defaultValue 'transactional'
   */
  readonly unit?: 'transactional' | 'own' | 'interceptor';
  /** Whether each request is of one of two tenants, which the database knows by a variable. */
  readonly hasTenants?: boolean;
  /** Limits of the library's connection, where the fault is about one. */
  readonly limits?: ConnectionLimits;
  /** Options of the library for all contexts. */
  readonly options?: DbContextOptions;
  /** Options of pg, on both sides. */
  readonly driverOptions?: Record<string, unknown>;
}
