// The code of docs/module.md; tsc checks it here, and a spec checks that it is the same.
import { MikroOrmModule } from '@mikro-orm/nestjs';
import { defineConfig, EntityManager, EntityRepository, MikroORM } from '@mikro-orm/postgresql';
import { Injectable, Module, type Type } from '@nestjs/common';
import {
  DbConnection,
  DbContextModule,
  InjectConnection,
  InjectRepository,
  InjectSession,
  type DbContextModuleOptions,
  type DbContextOptionsFactory,
} from 'nestjs-db-context';

import { Author, Book } from '../support/library.entities.js';

declare class ConfigService {
  getOrThrow(key: string): string;
}

declare const ConfigModule: Type;
declare const OrmModule: Type;

const clientUrl = 'postgres://localhost/app';
const auditUrl = 'postgres://localhost/audit';
const reportsUrl = 'postgres://localhost/reports';

@Module({
  imports: [
    DbContextModule.forRoot({
      connections: [
        defineConfig({ clientUrl, entities: [Author] }),
        { name: 'audit', ...defineConfig({ clientUrl: auditUrl }), acquireTimeoutMs: 2_000 },
      ],
    }),
  ],
})
export class AppModule {}

@Injectable()
export class AuthorService {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectSession('audit') private readonly audit: EntityManager,
    @InjectRepository(Author) private readonly authors: EntityRepository<Author>,
    @InjectConnection() private readonly connection: DbConnection,
  ) {}
}

export const rootAsync = DbContextModule.forRootAsync({
  connectionNames: ['default', 'audit'],
  imports: [ConfigModule],
  inject: [ConfigService],
  useFactory: (config: ConfigService) => ({
    connections: [
      defineConfig({ clientUrl: config.getOrThrow('DATABASE_URL'), entities: [Author] }),
      { name: 'audit', ...defineConfig({ clientUrl: config.getOrThrow('AUDIT_URL') }) },
    ],
  }),
});

@Injectable()
export class DbOptions implements DbContextOptionsFactory {
  constructor(private readonly config: ConfigService) {}

  createDbContextOptions(): DbContextModuleOptions {
    return { connections: [defineConfig({ clientUrl: this.config.getOrThrow('DATABASE_URL') })] };
  }
}

export const rootWithClass = DbContextModule.forRootAsync({
  imports: [ConfigModule],
  useClass: DbOptions,
});

@Module({
  imports: [
    DbContextModule.forFeature({ name: 'reports', ...defineConfig({ clientUrl: reportsUrl }) }),
    DbContextModule.forFeature([Book], 'reports'),
    DbContextModule.forFeature([Author]),
  ],
})
export class ReportsModule {}

export const rootWithOrm = DbContextModule.forRootAsync({
  imports: [OrmModule],
  inject: [MikroORM],
  useFactory: (orm: MikroORM) => ({ connections: [{ orm }] }),
});

@Module({
  imports: [
    MikroOrmModule.forRoot({ ...defineConfig({ clientUrl }), autoLoadEntities: true }),
    DbContextModule.forRootAsync({
      inject: [MikroORM],
      useFactory: (orm: MikroORM) => ({ connections: [{ orm }] }),
    }),
  ],
})
export class AdoptedModule {}
