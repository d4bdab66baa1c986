import type { EntityManager } from '@mikro-orm/core';
import { Module, type DynamicModule } from '@nestjs/common';
import {
  DbContext,
  DbContextModule,
  getSessionToken,
  type DbContextOptions,
  type TransactionSettings,
} from 'nestjs-db-context';

import { ormOptions, type Database } from '../orm.js';
import { Unit, type Work } from '../unit.js';

/** This library: the handler works with the injected session, and ends nothing. */
class LibraryUnit extends Unit {
  constructor(
    private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {
    super();
  }

  override manager(): EntityManager {
    return this.session;
  }

  override write<T>(work: Work<T>): Promise<T> {
    return work(this.session);
  }

  override release(): Promise<void> {
    return this.dbContext.close();
  }
}

@Module({})
export class LibraryModule {
  static register(
    database: Database,
    transaction: TransactionSettings = {},
    options: DbContextOptions = {},
  ): DynamicModule {
    return {
      module: LibraryModule,
      imports: [
        DbContextModule.forRoot({
          ...options,
          connections: [{ ...ormOptions(database), transaction }],
        }),
      ],
      providers: [
        {
          provide: Unit,
          useFactory: (session: EntityManager, dbContext: DbContext) =>
            new LibraryUnit(session, dbContext),
          inject: [getSessionToken(), DbContext],
        },
      ],
      exports: [Unit],
    };
  }
}
