import { MikroORM, RequestContext } from '@mikro-orm/core';
import type { EntityManager, Options } from '@mikro-orm/postgresql';
import { catchError, defer, from, mergeMap, type Observable } from 'rxjs';

/** How an application runs the work of a request in a transaction of its database. */
export abstract class UnitOfWork {
  /** Around a handler that returns a promise. */
  abstract run<T>(key: string, work: (session: EntityManager) => Promise<T>): Promise<T>;
  /** Around a handler that returns an Observable. */
  abstract intercept<T>(work: (session: EntityManager) => Observable<T>): Observable<T>;
}

/** The library: a handler gets the session, and does not end it. */
export class LibraryUnitOfWork extends UnitOfWork {
  constructor(private readonly session: EntityManager) {
    super();
  }

  override run<T>(_key: string, work: (session: EntityManager) => Promise<T>): Promise<T> {
    return work(this.session);
  }

  override intercept<T>(work: (session: EntityManager) => Observable<T>): Observable<T> {
    return defer(() => work(this.session));
  }
}

/** How a plain application holds its transaction. */
export interface PlainSettings {
  /**
   * `em.transactional()` around the handler; the handler's own `em.begin()` and `em.commit()`; or an
   * interceptor that begins, commits and rolls back, for a handler that returns an Observable.
   * @defaultValue 'transactional'
   */
  readonly unit?: 'transactional' | 'own' | 'interceptor';
  /** The tenant of a request, for its transaction to know, where there are tenants. */
  readonly tenantOf?: (key: string) => string;
}

/** As MikroORM's documentation has it: a fork per request, and transactions by hand. */
export class PlainUnitOfWork extends UnitOfWork {
  private constructor(
    readonly orm: MikroORM,
    private readonly settings: PlainSettings,
  ) {
    super();
  }

  static async open(options: Options, settings: PlainSettings): Promise<PlainUnitOfWork> {
    return new PlainUnitOfWork(await MikroORM.init(options), settings);
  }

  /** The middleware that gives each request a fork. */
  fork(next: () => void): void {
    RequestContext.create(this.orm.em, next);
  }

  override run<T>(key: string, work: (session: EntityManager) => Promise<T>): Promise<T> {
    const em = this.#em;
    const { unit, tenantOf } = this.settings;
    if (tenantOf !== undefined) {
      em.setSessionContext({ variables: { 'app.tenant': tenantOf(key) } });
    }
    return unit === 'own' ? work(em) : em.transactional((own) => work(own));
  }

  override intercept<T>(work: (session: EntityManager) => Observable<T>): Observable<T> {
    const em = this.#em;
    return from(em.begin()).pipe(
      mergeMap(() => work(em)),
      mergeMap(async (value) => {
        await em.commit();
        return value;
      }),
      catchError(async (error: unknown) => {
        await em.rollback();
        throw error;
      }),
    );
  }

  get #em(): EntityManager {
    return this.orm.em as EntityManager;
  }
}
