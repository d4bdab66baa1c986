import { Module, type DynamicModule } from '@nestjs/common';
import {
  addTransactionalDataSource,
  Column,
  DataSource,
  Entity,
  initializeTransactionalContext,
  PrimaryGeneratedColumn,
  StorageDriver,
  Transactional,
  type Repository,
} from 'bench-rivals/typeorm';

import { POOL_SIZE, type Database } from '../orm.js';
import { Stack, type Accounts } from './stack.js';

@Entity('account')
class TypeOrmAccount {
  @PrimaryGeneratedColumn()
  id!: number;

  @Column('text')
  owner!: string;

  @Column('integer')
  balance!: number;
}

class TypeOrmAccounts implements Accounts {
  constructor(private readonly repository: Repository<TypeOrmAccount>) {}

  find(id: number): Promise<TypeOrmAccount> {
    return this.repository.findOneByOrFail({ id });
  }

  insert(owner: string): Promise<unknown> {
    return this.repository.save(this.repository.create({ owner, balance: 0 }));
  }

  // `save()` reads the row again, to find out what has changed in it.
  increment(account: TypeOrmAccount): Promise<TypeOrmAccount> {
    account.balance += 1;
    return this.repository.save(account);
  }
}

/** `@Transactional()` of `typeorm-transactional` on a service with a repository. */
class TypeOrmStack extends Stack {
  constructor(private readonly accounts: Accounts) {
    super();
  }

  @Transactional()
  override inTransaction<T>(work: (accounts: Accounts) => Promise<T>): Promise<T> {
    return work(this.accounts);
  }
}

async function openTypeOrm({ clientUrl }: Database): Promise<Stack> {
  initializeTransactionalContext({ storageDriver: StorageDriver.ASYNC_LOCAL_STORAGE });
  const source = addTransactionalDataSource(
    new DataSource({
      type: 'postgres',
      url: clientUrl,
      entities: [TypeOrmAccount],
      poolSize: POOL_SIZE,
    }),
  );
  await source.initialize();
  return new TypeOrmStack(new TypeOrmAccounts(source.getRepository(TypeOrmAccount)));
}

@Module({})
export class TypeOrmStackModule {
  static register(database: Database): DynamicModule {
    return {
      module: TypeOrmStackModule,
      providers: [{ provide: Stack, useFactory: () => openTypeOrm(database) }],
      exports: [Stack],
    };
  }
}
