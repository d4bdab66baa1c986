import { defineConfig } from '@mikro-orm/postgresql';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import type { DynamicModule, Provider } from '@nestjs/common';
import { GraphQLModule } from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import type { DbContextOptions } from 'nestjs-db-context';
import { DbContextGraphQLModule, type DbContextGraphQLOptions } from 'nestjs-db-context/graphql';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { createTestDatabase, type TestDatabase } from './database.js';
import { AuthorsResolver, BooksLoader, NotesResolver, ReadingGuard } from './graphql-library.js';
import { Author, Book, LIBRARY_SCHEMA } from './library.entities.js';
import { Note, NOTE_SCHEMA } from './note.entity.js';
import { startApp, type AdapterName, type TestApp, type TestAppOptions } from './test-app.js';
import { WireProxy } from './wire-proxy.js';

/** A GraphQL server over an HTTP adapter. */
export interface GraphQLServerName {
  readonly server: 'apollo' | 'mercurius';
  readonly adapter: AdapterName;
}

export const SERVERS: readonly GraphQLServerName[] = [
  { server: 'apollo', adapter: 'express' },
  { server: 'apollo', adapter: 'fastify' },
  { server: 'mercurius', adapter: 'fastify' },
];

interface GraphQLError {
  readonly message: string;
  readonly path?: readonly (string | number)[];
  readonly extensions?: Readonly<Record<string, unknown>>;
}

/** What a server answers to an operation. */
export interface GraphQLAnswer {
  readonly status: number;
  readonly data?: Readonly<Record<string, never>> | null;
  readonly errors?: readonly GraphQLError[];
}

export interface GraphQLWorldOptions extends DbContextOptions {
  readonly server?: GraphQLServerName;
  /** Options of the subpath; `'absent'` for an application without it. */
  readonly graphql?: DbContextGraphQLOptions | 'absent';
  /** Further options of the driver. */
  readonly driverOptions?: object;
  readonly providers?: readonly Provider[];
  readonly configure?: NonNullable<TestAppOptions['configure']>;
}

/** An application with a library of authors and books, and notes, served over GraphQL. */
export interface GraphQLWorld extends TestApp {
  readonly database: TestDatabase;
  readonly proxy: WireProxy;
  readonly ask: (query: string, variables?: object) => Promise<GraphQLAnswer>;
  readonly savedTexts: () => Promise<string[]>;
  /** How many contexts have not been settled. */
  readonly runningContexts: () => number;
  /** How many transactions the application has begun since the last reset of the proxy. */
  readonly begins: () => number;
}

/** A server with the resolvers of the application. */
export function graphQLModule({ server }: GraphQLServerName, extra: object = {}): DynamicModule {
  return server === 'apollo'
    ? GraphQLModule.forRoot<ApolloDriverConfig>({
        driver: ApolloDriver,
        autoSchemaFile: true,
        graphiql: false,
        ...extra,
      })
    : GraphQLModule.forRoot<MercuriusDriverConfig>({
        driver: MercuriusDriver,
        autoSchemaFile: true,
        ...extra,
      });
}

export async function startGraphQLWorld(options: GraphQLWorldOptions = {}): Promise<GraphQLWorld> {
  const {
    server = SERVERS[0]!,
    graphql = {},
    driverOptions,
    providers = [],
    ...contextOptions
  } = options;
  const database = await createTestDatabase();
  await database.query(NOTE_SCHEMA);
  await database.query(LIBRARY_SCHEMA);
  await database.query(
    `insert into author (name) select 'author ' || n from generate_series(1, 20) n`,
  );
  await database.query(
    `insert into book (title, author_id)
     select 'book ' || n || ' of ' || author.id, author.id from author, generate_series(1, 2) n`,
  );
  const proxy = await WireProxy.start(database.url);
  const app = await startApp({
    adapter: server.adapter,
    connections: [
      defineConfig({
        clientUrl: proxy.url,
        entities: [Note, Author, Book],
        pool: { min: 0, max: 5 },
      }),
    ],
    imports: [
      graphQLModule(server, driverOptions),
      ...(graphql === 'absent' ? [] : [DbContextGraphQLModule.forRoot(graphql)]),
    ],
    providers: [AuthorsResolver, NotesResolver, BooksLoader, ReadingGuard, ...providers],
    ...contextOptions,
  });
  return {
    ...app,
    database,
    proxy,
    ask: async (query, variables) => {
      const response = await app.fetch('/graphql', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ query, ...(variables !== undefined && { variables }) }),
      });
      return { status: response.status, ...((await response.json()) as object) };
    },
    savedTexts: async () =>
      (await database.query<{ text: string }>('select text from note order by id')).map(
        ({ text }) => text,
      ),
    runningContexts: () => app.app.get(ContextRegistry).runningCount,
    begins: () => proxy.log.filter((sql) => /^begin\b/i.test(sql)).length,
    close: async () => {
      await app.close();
      await proxy.stop();
      await database.drop();
    },
  };
}
