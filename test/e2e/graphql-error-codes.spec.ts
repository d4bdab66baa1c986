import type { EntityManager } from '@mikro-orm/postgresql';
import { Field, InterfaceType, Mutation, ObjectType, Query, Resolver } from '@nestjs/graphql';
import { CommitOn, DbContext, InjectSession } from 'nestjs-db-context';

import {
  SERVERS,
  startGraphQLWorld,
  type GraphQLAnswer,
  type GraphQLWorld,
} from '../support/graphql-world.js';
import { Note } from '../support/note.entity.js';

/** What a type resolver does, which is no method of a class that could be injected into. */
let resolveType: () => Promise<string>;

@InterfaceType('Thing', { resolveType: () => resolveType() })
abstract class AnyThing {
  @Field()
  name!: string;
}

@ObjectType('Box', { implements: AnyThing })
class BoxType extends AnyThing {
  @Field(() => String, { nullable: true })
  inside?: unknown;
}

class Kept extends Error {}

@Resolver()
class CodesResolver {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Mutation(() => [String], { nullable: 'items' })
  items(): unknown {
    return [this.#write('free'), this.#write('taken')];
  }

  @Mutation(() => [[String]], { nullable: 'items' })
  async nested(): Promise<unknown> {
    return [['free'], Promise.resolve(['free', this.#write('taken')])];
  }

  @Mutation(() => BoxType)
  property(): unknown {
    return { name: 'box', inside: this.#write('taken') };
  }

  @Mutation(() => String, { nullable: true })
  returned(): Promise<unknown> {
    return this.#write('taken').catch((error: unknown) => error);
  }

  @Mutation(() => [String], { nullable: 'items' })
  async returnedItems(): Promise<unknown> {
    const error: unknown = await this.session
      .transactional(() => this.#write('taken'))
      .catch((reason: unknown) => reason);
    return new Set([error, Promise.resolve(error)]);
  }

  @Query(() => AnyThing, { nullable: true })
  thing(): object {
    resolveType = () => this.#write('taken');
    return { name: 'thing' };
  }

  @Mutation(() => [String], { nullable: 'items' })
  late(): unknown {
    this.session.persist(new Note('in time'));
    return [this.#writeLate()];
  }

  @CommitOn(({ errors = [] }) => errors.every(({ originalError }) => originalError instanceof Kept))
  @Mutation(() => [String], { nullable: 'items' })
  async kept(): Promise<unknown> {
    await this.#write('kept');
    return [Promise.reject(new Kept('thrown')), new Kept('returned')];
  }

  async #write(text: string): Promise<string> {
    await this.session.insert(Note, { text });
    return text;
  }

  async #writeLate(): Promise<string> {
    await new Promise<void>((resolve) => this.dbContext.onCommit(resolve));
    return this.#write('late');
  }
}

/** The places of errors with their codes; Mercurius writes the places of items as texts. */
function codesOf({ errors = [] }: GraphQLAnswer): unknown[] {
  return errors.map(({ path = [], extensions }) => [path.join('.'), extensions?.['code']]);
}

describe.each(
  SERVERS.flatMap((server) => [
    { ...server, scope: 'operation' as const },
    { ...server, scope: 'root-field' as const },
  ]),
)('codes of errors, $server over $adapter, scope $scope', ({ scope, ...server }) => {
  let world: GraphQLWorld;

  beforeAll(async () => {
    world = await startGraphQLWorld({
      server,
      graphql: { scope },
      providers: [CodesResolver],
      driverOptions: { buildSchemaOptions: { orphanedTypes: [BoxType] } },
    });
  });
  afterAll(() => world?.close());
  beforeEach(async () => {
    await world.database.query('truncate note restart identity');
    await world.database.query(`insert into note (text) values ('taken')`);
  });

  it.each([
    ['returned', 'mutation { returned }', 'returned'],
    ['returnedItems', 'mutation { returnedItems }', 'returnedItems.0', 'returnedItems.1'],
    ...(scope === 'operation'
      ? [
          ['items', 'mutation { items }', 'items.1'],
          ['nested', 'mutation { nested }', 'nested.1.1'],
          ['property', 'mutation { property { inside } }', 'property.inside'],
          ['a type resolver', '{ thing { name } }', 'thing'],
        ]
      : []),
  ])('W1: an error of the database has its code (%s)', async (_, query, ...paths) => {
    const answer = await world.ask(query);
    expect(codesOf(answer).slice(0, paths.length)).toEqual(paths.map((path) => [path, '23505']));
  });

  if (scope === 'root-field') {
    it('S5: so has one of this library, of an item that comes after the commit', async () => {
      const answer = await world.ask('mutation { late }');
      expect(codesOf(answer)).toEqual([['late.0', 'SESSION_CLOSED']]);
      expect(await world.savedTexts()).toEqual(['taken', 'in time']);
    });
  }

  it('S2: commitOn gets what items have thrown', async () => {
    const answer = await world.ask('mutation { kept }');
    expect(answer.errors?.map(({ message }) => message)).toEqual(['returned', 'thrown']);
    expect(await world.savedTexts()).toEqual(['taken', 'kept']);
  });
});
