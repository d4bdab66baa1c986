// The module, its tokens and what is injected by them; nothing here runs.
import type { MikroORM, Options } from '@mikro-orm/core';
import { defineConfig } from '@mikro-orm/postgresql';
import {
  UseInterceptors,
  type DynamicModule,
  type NestInterceptor,
  type Type,
} from '@nestjs/common';
import { expectTypeOf } from 'expect-type';
import {
  DbContextInterceptor,
  DbContextModule,
  getRepositoryToken,
  type DbConnection,
  type DbConnectionOptions,
  type DbContextModuleOptions,
  type DbContextOptionsFactory,
} from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';

declare class Config {
  readonly url: string;
}

declare class OptionsFactory implements DbContextOptionsFactory {
  createDbContextOptions(): Promise<DbContextModuleOptions>;
}

export function forRoot(orm: MikroORM): void {
  DbContextModule.forRoot({ connections: [] });
  DbContextModule.forRoot({
    connections: [{ orm }, { name: 'audit', ...defineConfig({ dbName: 'audit' }) }],
  });
  // `as const` must not be in the way.
  DbContextModule.forRoot({ connections: [{ orm }], mount: 'none' } as const);
  // @ts-expect-error -- where to?
  DbContextModule.forRoot({});
  // @ts-expect-error -- a list
  DbContextModule.forRoot({ connections: defineConfig({}) });
  // @ts-expect-error -- the options are those of an application, not of a connection
  DbContextModule.forRoot({ connections: [], acquireTimeoutMs: 1 });
  // @ts-expect-error -- only two ways, or none
  DbContextModule.forRoot({ connections: [], mount: 'guard' });
  // @ts-expect-error -- `orm` is one that exists, options are for one to be made
  DbContextModule.forRoot({ connections: [{ orm, clientUrl: 'postgres://localhost/app' }] });
  DbContextModule.forRoot({
    // @ts-expect-error -- no name of an option, of MikroORM or of this library
    connections: [{ clientUrl: 'postgres://localhost/app', aquireTimeoutMs: 1 }],
  });
  // @ts-expect-error -- nor beside an `orm`
  DbContextModule.forRoot({ connections: [{ orm, aquireTimeoutMs: 1 }] });
}

export function forRootAsync(): void {
  DbContextModule.forRootAsync({ useFactory: () => ({ connections: [] }) });
  DbContextModule.forRootAsync({
    useFactory: async () => ({ connections: [], mount: 'middleware' }),
  });
  // The factory names the types of its dependencies.
  DbContextModule.forRootAsync({
    connectionNames: ['default', 'audit'],
    inject: [Config, { token: 'SECRET', optional: true }],
    useFactory: ({ url }: Config, secret?: string) => ({
      connections: [defineConfig({ clientUrl: url, ...(secret ? { password: secret } : {}) })],
    }),
  });
  DbContextModule.forRootAsync({ useClass: OptionsFactory });
  DbContextModule.forRootAsync({ useExisting: OptionsFactory });
  // @ts-expect-error -- nothing makes the options
  DbContextModule.forRootAsync({});
  // @ts-expect-error -- two ways at once
  DbContextModule.forRootAsync({ useClass: OptionsFactory, useExisting: OptionsFactory });
  // @ts-expect-error -- makes no options
  DbContextModule.forRootAsync({ useClass: Config });
  // @ts-expect-error -- no options of the module
  DbContextModule.forRootAsync({ useFactory: () => ({ clientUrl: 'postgres://localhost/app' }) });
  DbContextModule.forRootAsync({
    useFactory: () => ({ connections: [] }),
    // @ts-expect-error -- names, as the providers are made before the factory runs
    connectionNames: 'audit',
  });
}

export function forFeature(orm: MikroORM): void {
  expectTypeOf(DbContextModule.forFeature({ orm })).toEqualTypeOf<DynamicModule>();
  expectTypeOf(DbContextModule.forFeature([Note], 'audit')).toEqualTypeOf<DynamicModule>();
  DbContextModule.forFeature({ name: 'audit', ...defineConfig({ dbName: 'audit' }) });
  DbContextModule.forFeature([Note]);
  DbContextModule.forFeature([]);
  // @ts-expect-error -- a connection has its name in its options
  DbContextModule.forFeature({ orm }, 'audit');
  // @ts-expect-error -- a list
  DbContextModule.forFeature(Note);
  // @ts-expect-error -- classes or schemas, as a name says nothing about its type
  DbContextModule.forFeature(['Note']);
}

export function tokens(): void {
  expectTypeOf(getRepositoryToken(Note, 'audit')).toEqualTypeOf<string>();
  // @ts-expect-error -- of which entity?
  getRepositoryToken();
  // @ts-expect-error -- the entity, not its name
  getRepositoryToken('Note');
}

export function connection(db: DbConnection): void {
  // As dbContext.session() has them.
  expectTypeOf(db.orm.em.getKysely()).toBeObject();
  void db.orm.em.fork().execute('select 1');
  // @ts-expect-error -- milliseconds, in an object
  void db.check(500);
  // @ts-expect-error -- `undefined` before the first use, so that nobody takes that for an empty pool
  void db.poolState().idle;
  // @ts-expect-error -- only close() closes it
  db.isClosed = true;
  // @ts-expect-error -- changeHost() may fail, and takes its time
  db.host = 'db2';
  // @ts-expect-error -- made once
  db.orm = undefined;
}

export function interceptor(): void {
  expectTypeOf<DbContextInterceptor>().toExtend<NestInterceptor>();
  expectTypeOf(UseInterceptors).toBeCallableWith(DbContextInterceptor);
  expectTypeOf(DbContextModule).toExtend<Type>();
}

/** What `defineConfig()` of the driver gives fits as it is, and spread with options of ours. */
export const connections: readonly DbConnectionOptions[] = [
  defineConfig({ dbName: 'app' }),
  { ...defineConfig({ dbName: 'audit' }), name: 'audit', acquireTimeoutMs: 1, role: 'app' },
  { dbName: 'plain' } satisfies Partial<Options>,
];
