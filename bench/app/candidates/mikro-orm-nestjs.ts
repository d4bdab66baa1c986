import { EntityManager } from '@mikro-orm/core';
import { Transactional } from '@mikro-orm/decorators/legacy';
import { MikroOrmModule } from '@mikro-orm/nestjs';
import { Module, type DynamicModule } from '@nestjs/common';

import { ormOptions, type Database } from '../orm.js';
import { Unit, type Work } from '../unit.js';

/** `@Transactional()` of MikroORM on a service, with the manager that `@mikro-orm/nestjs` injects. */
class MikroOrmUnit extends Unit {
  // The decorator looks for this name.
  constructor(private readonly em: EntityManager) {
    super();
  }

  override manager(): EntityManager {
    return this.em;
  }

  @Transactional()
  override async write<T>(work: Work<T>): Promise<T> {
    return work(this.em);
  }
}

/** `@mikro-orm/nestjs` with its defaults: a middleware that makes a fork for each request. */
@Module({})
export class MikroOrmNestjsModule {
  static async register(database: Database): Promise<DynamicModule> {
    return {
      module: MikroOrmNestjsModule,
      imports: [await MikroOrmModule.forRoot(ormOptions(database))],
      providers: [
        {
          provide: Unit,
          useFactory: (em: EntityManager) => new MikroOrmUnit(em),
          inject: [EntityManager],
        },
      ],
      exports: [Unit],
    };
  }
}
