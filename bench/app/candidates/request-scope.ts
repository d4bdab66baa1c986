import { MikroORM, type EntityManager } from '@mikro-orm/core';
import { Module, Scope, type DynamicModule } from '@nestjs/common';

import { openOrm, type Database } from '../orm.js';
import { Unit, type Work } from '../unit.js';

/**
 * A unit for each request, and so also new services and a new controller, into which it is injected. The
 * transaction is begun and ended by hand.
 */
class RequestScopeUnit extends Unit {
  constructor(private readonly fork: EntityManager) {
    super();
  }

  override manager(): EntityManager {
    return this.fork;
  }

  override async write<T>(work: Work<T>): Promise<T> {
    await this.fork.begin();
    try {
      const result = await work(this.fork);
      await this.fork.commit();
      return result;
    } catch (error) {
      await this.fork.rollback();
      throw error;
    }
  }
}

@Module({})
export class RequestScopeModule {
  static register(database: Database): DynamicModule {
    return {
      module: RequestScopeModule,
      providers: [
        { provide: MikroORM, useFactory: () => openOrm(database) },
        {
          provide: Unit,
          scope: Scope.REQUEST,
          useFactory: (orm: MikroORM) => new RequestScopeUnit(orm.em.fork()),
          inject: [MikroORM],
        },
      ],
      exports: [Unit],
    };
  }
}
