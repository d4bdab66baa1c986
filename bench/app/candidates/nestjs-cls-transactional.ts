import { MikroORM, type EntityManager, type TransactionOptions } from '@mikro-orm/core';
import { Module, type DynamicModule } from '@nestjs/common';
import {
  ClsModule,
  ClsPluginTransactional,
  Transactional,
  TransactionHost,
  type TransactionalAdapter,
} from 'bench-rivals/nestjs-cls';

import { openOrm, type Database } from '../orm.js';
import { Unit, type Work } from '../unit.js';

type MikroOrmAdapter = TransactionalAdapter<MikroORM, EntityManager, TransactionOptions>;

/**
 * MikroORM under `@nestjs-cls/transactional`, which has no adapter for it. It follows the package's own
 * adapter for TypeORM: the ORM's own transaction, and its manager as the `tx`.
 */
const ADAPTER: MikroOrmAdapter = {
  connectionToken: MikroORM,
  optionsFactory: (orm) => ({
    wrapWithTransaction: (options, work, setTx) =>
      orm.em.transactional((em) => {
        setTx(em);
        return work();
      }, options),
    getFallbackInstance: () => orm.em,
  }),
};

/** `@Transactional()` on a service, whose manager is the `tx` of the transaction host. */
class ClsTransactionalUnit extends Unit {
  constructor(private readonly host: TransactionHost<MikroOrmAdapter>) {
    super();
  }

  override manager(): EntityManager {
    return this.host.tx;
  }

  @Transactional()
  override write<T>(work: Work<T>): Promise<T> {
    return work(this.manager());
  }
}

@Module({})
class OrmModule {
  static register(database: Database): DynamicModule {
    return {
      module: OrmModule,
      providers: [{ provide: MikroORM, useFactory: () => openOrm(database) }],
      exports: [MikroORM],
    };
  }
}

@Module({})
export class NestjsClsTransactionalModule {
  static register(database: Database): DynamicModule {
    const orm = OrmModule.register(database);
    const plugin = new ClsPluginTransactional({ imports: [orm], adapter: ADAPTER });
    return {
      module: NestjsClsTransactionalModule,
      imports: [ClsModule.forRoot({ middleware: { mount: true }, plugins: [plugin] })],
      providers: [
        {
          provide: Unit,
          useFactory: (host: TransactionHost<MikroOrmAdapter>) => new ClsTransactionalUnit(host),
          inject: [TransactionHost],
        },
      ],
      exports: [Unit],
    };
  }
}
