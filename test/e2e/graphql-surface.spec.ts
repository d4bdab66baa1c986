import { ApolloFederationDriver, type ApolloFederationDriverConfig, Plugin } from '@nestjs/apollo';
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  Directive,
  Field,
  GraphQLModule,
  ID,
  Mutation,
  ObjectType,
  Query,
  ResolveField,
  ResolveReference,
  Resolver,
  Subscription,
} from '@nestjs/graphql';
import type { DynamicModule } from '@nestjs/common';
import { MercuriusFederationDriver, type MercuriusFederationDriverConfig } from '@nestjs/mercurius';
import { Test } from '@nestjs/testing';
import { getSessionToken, InjectSession, UseAfterCommit } from 'nestjs-db-context';
import { DbContextGraphQLModule, type DbContextGraphQLOptions } from 'nestjs-db-context/graphql';

import { ApolloOperationsPlugin } from '../../lib/graphql/apollo.plugin.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { graphQLModule, SERVERS } from '../support/graphql-world.js';
import { noteConnection, startApp } from '../support/test-app.js';
import { NOTE_SCHEMA } from '../support/note.entity.js';

const apollo = (): DynamicModule =>
  GraphQLModule.forRoot<ApolloFederationDriverConfig>({
    driver: ApolloFederationDriver,
    autoSchemaFile: { federation: 2 },
    graphiql: false,
  });
const mercurius = (): DynamicModule =>
  GraphQLModule.forRoot<MercuriusFederationDriverConfig>({
    driver: MercuriusFederationDriver,
    // Schema first: @nestjs/mercurius 14.0.0 makes none from code, as it hands @apollo/subgraph no list.
    typeDefs: `
      type Reading @key(fields: "id") { id: ID! xid: String! }
      type Query { reading: Reading! }
    `,
  });
const SUBGRAPHS = [
  ['Apollo Server over Express', apollo, 'express'],
  ['Apollo Server over Fastify', apollo, 'fastify'],
  ['Mercurius', mercurius, 'fastify'],
] as const;

@ObjectType()
@Directive('@key(fields: "id")')
class Reading {
  @Field(() => ID)
  id!: string;

  @Field(() => String)
  xid!: string;
}

@Resolver(() => Reading)
class ReadingsResolver {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Query(() => Reading)
  reading(): Promise<Reading> {
    return this.resolveReference({ id: 'own' });
  }

  @ResolveReference()
  async resolveReference({ id }: { id: string }): Promise<Reading> {
    const [row] = await this.session.execute<{ xid: string }[]>(
      'select pg_current_xact_id()::text as xid',
    );
    return { id, xid: row!.xid };
  }
}

@Resolver()
class CachedSubscriptionResolver {
  @UseAfterCommit({ intercept: (_context, next) => next.handle() })
  @Subscription(() => String)
  async *cachedEvents(): AsyncGenerator<object> {
    yield {};
  }
}

@Resolver()
class CachedResolver {
  @UseAfterCommit({ intercept: (_context, next) => next.handle() })
  @Query(() => String)
  cached(): string {
    return '';
  }
}

const filter = (): boolean => true;

class Marks {
  @Mutation(() => String, { name: 'named' })
  method(): string {
    return '';
  }

  @Subscription(() => String, { filter })
  events(): string {
    return '';
  }

  @ResolveField(() => String)
  field(): string {
    return '';
  }

  @ResolveReference()
  reference(): string {
    return '';
  }
}

@Plugin()
class SomePlugin {}

describe('what lib/graphql knows of @nestjs/graphql and @nestjs/apollo', () => {
  it('are the marks of resolvers', () => {
    const handler = Object.getOwnPropertyDescriptor(Marks.prototype, 'method')!.value as object;
    expect(Reflect.getMetadata('graphql:resolver_type', handler)).toBe('Mutation');
    expect(Reflect.getMetadata('graphql:resolver_name', handler)).toBe('named');
  });

  it.each(['method', 'events', 'field', 'reference'] as const)(
    'is how the marks of all resolvers begin (%s)',
    (name) => {
      const handler = Object.getOwnPropertyDescriptor(Marks.prototype, name)!.value as object;
      expect(Reflect.getOwnMetadataKeys(handler)).toContainEqual(
        expect.stringMatching(/^graphql:resolve/),
      );
    },
  );

  it('is where the options of a subscription are', () => {
    const handler = Object.getOwnPropertyDescriptor(Marks.prototype, 'events')!.value as object;
    expect(Reflect.getMetadata('graphql:subscription_options;', handler)).toMatchObject({ filter });
  });

  it('is the mark of plugins', () => {
    const keys = Reflect.getMetadataKeys(SomePlugin);
    expect(keys.filter((key) => String(key).startsWith('graphql:'))).toEqual(['graphql:plugin']);
    expect(Reflect.hasMetadata('graphql:plugin', ApolloOperationsPlugin)).toBe(true);
  });
});

describe('the boot of DbContextGraphQLModule', () => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
  });
  afterAll(() => database?.drop());

  it('fails without a GraphQLModule', async () => {
    await expect(
      startApp({
        connections: [noteConnection(database.url)],
        imports: [DbContextGraphQLModule.forRoot()],
      }),
    ).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining('finds no GraphQLModule'),
    });
  });

  it('fails without DbContextModule.forRoot()', async () => {
    const compiled = Test.createTestingModule({
      imports: [graphQLModule(SERVERS[0]!), DbContextGraphQLModule.forRoot()],
      providers: [ReadingsResolver, { provide: getSessionToken(), useValue: {} }],
    }).compile();
    await expect(compiled).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining('DbContextModule.forRoot() is missing'),
    });
  });

  it('fails when it is imported twice', async () => {
    await expect(
      startApp({
        connections: [noteConnection(database.url)],
        imports: [
          graphQLModule(SERVERS[0]!),
          DbContextGraphQLModule.forRoot({ readOnlyQueries: true }),
          DbContextGraphQLModule.forRoot({ scope: 'root-field' }),
        ],
        providers: [ReadingsResolver],
      }),
    ).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining('DbContextGraphQLModule.forRoot() is imported twice'),
    });
  });

  it.each([
    [CachedResolver, 'operation', 'CachedResolver.cached'],
    [CachedSubscriptionResolver, 'root-field', 'CachedSubscriptionResolver.cachedEvents'],
  ] as const)(
    'fails with @UseAfterCommit() on a resolver, which ends before its operation (%p, %s)',
    async (resolver, scope, name) => {
      await expect(
        startApp({
          connections: [noteConnection(database.url)],
          imports: [graphQLModule(SERVERS[0]!), DbContextGraphQLModule.forRoot({ scope })],
          providers: [CachedResolver, resolver],
        }),
      ).rejects.toMatchObject({
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining(`@UseAfterCommit() on ${name}`),
      });
    },
  );

  it.each([
    [{ scope: 'nope' }, "scope: 'nope'. Give one of operation, root-field"],
    [{ readonlyQueries: true }, 'has readonlyQueries: true. Give one of scope, readOnlyQueries'],
    [{ scope: 'root-field', readOnlyQueries: true }, "no effect with scope: 'root-field'"],
  ])('refuses the options %j', (options, message) => {
    expect(() => DbContextGraphQLModule.forRoot(options as DbContextGraphQLOptions)).toThrow(
      expect.objectContaining({
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining(message),
      }),
    );
  });

  it.each(SUBGRAPHS)(
    'W1: %s resolves the references of a federated schema in the context of the operation',
    async (_, subgraph, adapter) => {
      const app = await startApp({
        connections: [noteConnection(database.url)],
        imports: [subgraph(), DbContextGraphQLModule.forRoot()],
        providers: [ReadingsResolver],
        adapter,
      });
      const response = await app.fetch('/graphql', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          query: `{
          reading { xid }
          entities: _entities(representations: [{ __typename: "Reading", id: "1" }, { __typename: "Reading", id: "2" }]) {
            ... on Reading { id xid }
          }
        }`,
        }),
      });
      const { data, errors } = (await response.json()) as {
        data: { reading: Reading; entities: Reading[] };
        errors: unknown;
      };
      expect(errors).toBeUndefined();
      expect(data.entities.map(({ id }) => id)).toEqual(['1', '2']);
      expect(new Set([data.reading, ...data.entities].map(({ xid }) => xid)).size).toBe(1);
      await app.close();
    },
  );
});
