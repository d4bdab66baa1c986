import { MikroORM, RequestContext } from '@mikro-orm/core';
import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import type { DynamicModule } from '@nestjs/common';
import {
  DbContextModule,
  getConnectionToken,
  getSessionToken,
  type DbConnection,
} from 'nestjs-db-context';
import { ClsModule } from 'nestjs-cls';
import { catchError, defer, from, mergeMap, type Observable } from 'rxjs';

import { Note } from '../support/note.entity.js';
import { POOL_SIZE, type Setup } from './setup.js';
import { tenantOf } from './work.js';

export type SideName = 'plain' | 'library';

/** How an application of one side works with its database. */
export abstract class Side {
  abstract readonly orm: MikroORM;
  /** Around a handler that returns a promise. */
  abstract run(key: string, work: (em: EntityManager) => Promise<unknown>): Promise<unknown>;
  /** Around a handler that returns an Observable. */
  abstract intercept(work: (em: EntityManager) => Observable<unknown>): Observable<unknown>;
}

// Only so that no fault of the library has to wait for its defaults of many seconds.
const LIMITS = {
  acquireTimeoutMs: 4_000,
  transactionTimeoutMs: 1_000,
  drainTimeoutMs: 300,
  endTimeoutMs: 500,
};

function ormOptions(clientUrl: string, { driverOptions = {} }: Setup) {
  return defineConfig({
    clientUrl,
    entities: [Note],
    ensureDatabase: false,
    pool: { min: 0, max: POOL_SIZE },
    driverOptions,
  });
}

/** As MikroORM's documentation has it: a fork per request, and transactions by hand. */
export class PlainSide extends Side {
  private constructor(
    override readonly orm: MikroORM,
    private readonly setup: Setup,
  ) {
    super();
  }

  static async open(url: string, setup: Setup): Promise<PlainSide> {
    return new PlainSide(await MikroORM.init(ormOptions(url, setup)), setup);
  }

  /** The middleware that gives each request a fork. */
  fork(next: () => void): void {
    RequestContext.create(this.orm.em, next);
  }

  override run(key: string, work: (em: EntityManager) => Promise<unknown>): Promise<unknown> {
    const em = this.#em;
    if (this.setup.hasTenants === true) {
      em.setSessionContext({ variables: { 'app.tenant': tenantOf(key) } });
    }
    return this.setup.unit === 'own' ? work(em) : em.transactional((own) => work(own));
  }

  override intercept(work: (em: EntityManager) => Observable<unknown>): Observable<unknown> {
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

/** The library: a handler gets the session, and does not end it. */
class LibrarySide extends Side {
  constructor(
    override readonly orm: MikroORM,
    private readonly session: EntityManager,
  ) {
    super();
  }

  override run(_key: string, work: (em: EntityManager) => Promise<unknown>): Promise<unknown> {
    return work(this.session);
  }

  override intercept(work: (em: EntityManager) => Observable<unknown>): Observable<unknown> {
    return defer(() => work(this.session));
  }
}

/** What `librarySide()` is made of. */
export const LIBRARY_TOKENS = [getConnectionToken(), getSessionToken()];

export function librarySide({ orm }: DbConnection, session: EntityManager): Side {
  return new LibrarySide(orm, session);
}

/** The module of the library, with the tenant of a request taken from its URL. */
export function libraryModules(url: string, setup: Setup): DynamicModule[] {
  return [
    ClsModule.forRoot({
      global: true,
      middleware: {
        mount: true,
        setup: (cls, request: { url: string }) => {
          cls.set('tenant', tenantOf(request.url));
        },
      },
    }),
    DbContextModule.forRoot({
      watch: false,
      shutdownTimeoutMs: 500,
      ...setup.options,
      connections: [
        {
          ...ormOptions(url, setup),
          ...LIMITS,
          ...setup.limits,
          ...(setup.hasTenants === true && {
            sessionVariables: (cls) => ({ 'app.tenant': cls.get<string>('tenant') }),
          }),
        },
      ],
    }),
  ];
}
