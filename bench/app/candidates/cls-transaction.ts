import type { EntityManager, MikroORM } from '@mikro-orm/core';
import { Module, type DynamicModule } from '@nestjs/common';
import { ClsModule, ClsService } from 'nestjs-cls';

import { openOrm, type Database } from '../orm.js';
import { Unit, type Work } from '../unit.js';

const MANAGER = Symbol('bench:transaction');

/**
 * A minimal equivalent, written here, of what `@Transactional()` of `@nestjs-cls/transactional` does
 * around a handler: a transaction, and its manager in the store of `nestjs-cls`.
 */
class ClsUnit extends Unit {
  constructor(
    private readonly orm: MikroORM,
    private readonly cls: ClsService,
  ) {
    super();
  }

  override manager(): EntityManager {
    return this.cls.get<EntityManager | undefined>(MANAGER) ?? this.orm.em;
  }

  override write<T>(work: Work<T>): Promise<T> {
    return this.cls.run({ ifNested: 'inherit' }, () =>
      this.orm.em.transactional((em) => {
        this.cls.set(MANAGER, em);
        return work(this.manager());
      }),
    );
  }
}

@Module({})
export class ClsTransactionModule {
  static register(database: Database): DynamicModule {
    return {
      module: ClsTransactionModule,
      imports: [ClsModule.forRoot({ middleware: { mount: true } })],
      providers: [
        {
          provide: Unit,
          useFactory: async (cls: ClsService) => new ClsUnit(await openOrm(database), cls),
          inject: [ClsService],
        },
      ],
      exports: [Unit],
    };
  }
}
