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
  ResolveReference,
  Resolver,
  Subscription,
} from '@nestjs/graphql';
import { InjectSession } from 'nestjs-db-context';
import { DbContextGraphQLModule } from 'nestjs-db-context/graphql';

import { ApolloOperationsPlugin } from '../../lib/graphql/apollo.plugin.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { noteConnection, startApp } from '../support/test-app.js';
import { NOTE_SCHEMA } from '../support/note.entity.js';

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
}

@Plugin()
class SomePlugin {}

describe('what lib/graphql knows of @nestjs/graphql and @nestjs/apollo', () => {
  it('are the marks of resolvers', () => {
    const handler = Object.getOwnPropertyDescriptor(Marks.prototype, 'method')!.value as object;
    expect(Reflect.getMetadata('graphql:resolver_type', handler)).toBe('Mutation');
    expect(Reflect.getMetadata('graphql:resolver_name', handler)).toBe('named');
  });

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

  it('W1: the references of a federated schema are resolved in the context of the operation', async () => {
    const app = await startApp({
      connections: [noteConnection(database.url)],
      imports: [
        GraphQLModule.forRoot<ApolloFederationDriverConfig>({
          driver: ApolloFederationDriver,
          autoSchemaFile: { federation: 2 },
          graphiql: false,
        }),
        DbContextGraphQLModule.forRoot(),
      ],
      providers: [ReadingsResolver],
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
  });
});
