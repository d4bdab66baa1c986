import type { EntityManager, MikroORM } from '@mikro-orm/core';
import { Module, type DynamicModule } from '@nestjs/common';

import { openOrm, type Database } from '../orm.js';
import { Unit, type Work } from '../unit.js';

/** `em.transactional()` in the handler, and its manager handed to all services. */
class HandWrittenUnit extends Unit {
  constructor(private readonly orm: MikroORM) {
    super();
  }

  override manager(handed: EntityManager): EntityManager {
    return handed;
  }

  override write<T>(work: Work<T>): Promise<T> {
    return this.orm.em.transactional(work);
  }
}

@Module({})
export class HandWrittenModule {
  static register(database: Database): DynamicModule {
    return {
      module: HandWrittenModule,
      providers: [
        { provide: Unit, useFactory: async () => new HandWrittenUnit(await openOrm(database)) },
      ],
      exports: [Unit],
    };
  }
}
