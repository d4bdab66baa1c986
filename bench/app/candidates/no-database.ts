import type { EntityManager } from '@mikro-orm/core';
import { Module, type DynamicModule } from '@nestjs/common';

import { Unit } from '../unit.js';

/** The same application without any module for a database. */
class NoDatabaseUnit extends Unit {
  override manager(): EntityManager {
    throw new Error('this candidate has no database');
  }

  override write(): Promise<never> {
    return Promise.reject(new Error('this candidate has no database'));
  }
}

@Module({})
export class NoDatabaseModule {
  static register(): DynamicModule {
    return {
      module: NoDatabaseModule,
      providers: [{ provide: Unit, useClass: NoDatabaseUnit }],
      exports: [Unit],
    };
  }
}
