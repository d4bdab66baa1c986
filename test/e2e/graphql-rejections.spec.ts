import type { EntityManager } from '@mikro-orm/postgresql';
import { Field, Int, Mutation, ObjectType, Query, Resolver, Subscription } from '@nestjs/graphql';
import { InjectSession } from 'nestjs-db-context';

import { connect } from '../support/graphql-client.js';
import { Happenings } from '../support/graphql-events.js';
import {
  SERVERS,
  startGraphQLWorld,
  type GraphQLAnswer,
  type GraphQLWorld,
} from '../support/graphql-world.js';
import { Note } from '../support/note.entity.js';
import { UnhandledRejections } from '../support/unhandled-rejections.js';
import { waitFor } from '../support/wait-for.js';

@ObjectType('Part')
class PartType {
  @Field(() => Int)
  id!: number;

  @Field(() => PartType, { nullable: true })
  detail?: unknown;

  @Field(() => [PartType], { nullable: 'itemsAndList' })
  details?: unknown;
}

/** What a resolver returns need not be of a plain class. */
class Whole {
  readonly id = 0;

  constructor(
    readonly detail: unknown,
    readonly details: unknown = null,
  ) {}

  /** What no field asks for is not to be asked for by anybody else. */
  get ownSecret(): never {
    throw new Error('nobody may read this');
  }
}

@Resolver()
class RejectionsResolver {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly happenings: Happenings,
  ) {}

  @Mutation(() => [PartType], { nullable: 'itemsAndList' })
  list(): unknown {
    this.session.persist(new Note('list'));
    return [1, 2].map((id) => this.load(id));
  }

  @Mutation(() => [PartType], { nullable: 'itemsAndList' })
  async listLater(): Promise<unknown> {
    return this.list();
  }

  @Mutation(() => PartType, { nullable: true })
  object(): unknown {
    this.session.persist(new Note('object'));
    return new Whole(this.load(2));
  }

  @Mutation(() => PartType, { nullable: true })
  nested(): unknown {
    this.session.persist(new Note('nested'));
    return { id: 0, details: [{ id: 1, detail: this.load(2) }] };
  }

  /** The item is there before it is asked for, and what it holds has failed by then. */
  @Mutation(() => [PartType], { nullable: 'itemsAndList' })
  insideOfPromise(): unknown {
    this.session.persist(new Note('inside'));
    return new Set([(async () => new Whole(null, [this.load(1), this.load(2)]))()]);
  }

  @Mutation(() => [PartType], { nullable: 'itemsAndList' })
  unsaved(): unknown {
    this.session.persist(new Note(null as unknown as string));
    return [this.load(2)];
  }

  @Query(() => [PartType], { nullable: 'itemsAndList' })
  async read(): Promise<unknown> {
    await this.session.count(Note);
    return [1, 2].map((id) => this.load(id));
  }

  @Subscription(() => [PartType], {
    nullable: 'itemsAndList',
    resolve(this: RejectionsResolver) {
      return this.list();
    },
  })
  parts(): AsyncIterator<unknown> {
    return this.happenings.pubSub.asyncIterableIterator('happening');
  }

  private async load(id: number): Promise<unknown> {
    if (id === 2) {
      throw new Error('no such part');
    }
    return { id };
  }
}

const FAILED = 'no such part';

/** Mercurius writes the places of items as texts. */
function placed(errors: GraphQLAnswer['errors'] = []): unknown[] {
  return errors.map(({ message, path = [] }) => `${path.join('.')}: ${message}`);
}

describe.each(
  SERVERS.flatMap((server) => [
    { ...server, scope: 'operation' as const },
    { ...server, scope: 'root-field' as const },
    { ...server, scope: 'absent' as const },
  ]),
)('promises that have failed, $server over $adapter, scope $scope', ({ scope, ...server }) => {
  const unhandled = new UnhandledRejections();
  let world: GraphQLWorld;

  beforeAll(async () => {
    world = await startGraphQLWorld({
      server,
      graphql: scope === 'absent' ? scope : { scope },
      providers: [Happenings, RejectionsResolver],
      driverOptions: { subscriptions: { 'graphql-ws': true }, subscription: true },
    });
    unhandled.start();
  });
  afterAll(async () => {
    unhandled.stop();
    await world?.close();
  });
  beforeEach(async () => {
    unhandled.reasons.length = 0;
    await world.database.query('truncate note restart identity');
  });

  it.each([
    ['list', '{ id }', [{ id: 1 }, null], 'list.1'],
    ['listLater', '{ id }', [{ id: 1 }, null], 'listLater.1'],
    ['object', '{ id detail { id } }', { id: 0, detail: null }, 'object.detail'],
    [
      'nested',
      '{ details { id detail { id } } }',
      { details: [{ id: 1, detail: null }] },
      'nested.details.0.detail',
    ],
    [
      'insideOfPromise',
      '{ details { id } }',
      [{ details: [{ id: 1 }, null] }],
      'insideOfPromise.0.details.1',
    ],
  ])(
    'W1: in what %s returns, one is an error of its own part',
    async (field, rest, value, path) => {
      const { data, errors } = await world.ask(`mutation { ${field} ${rest} }`);
      expect(data).toEqual({ [field]: value });
      expect(placed(errors)[0]).toBe(`${path}: ${FAILED}`);
      expect(unhandled.reasons).toEqual([]);
    },
  );

  it('W1: nor is one unhandled where what a mutation changed could not be written', async () => {
    const { data, errors } = await world.ask('mutation { unsaved { id } }');
    expect(data).toEqual({ unsaved: null });
    expect(errors?.[0]).toMatchObject({ path: ['unsaved'] });
    expect(unhandled.reasons).toEqual([]);
  });

  it('W1: nor in a query that has read', async () => {
    const { data, errors } = await world.ask('{ read { id } }');
    expect(data).toEqual({ read: [{ id: 1 }, null] });
    expect(placed(errors)).toEqual([`read.1: ${FAILED}`]);
    expect(unhandled.reasons).toEqual([]);
  });

  if (scope === 'operation') {
    it('W1: nor in what an event resolves to', async () => {
      const happenings = world.app.get(Happenings);
      const client = connect(world.url);
      const listening = client.listen('subscription { parts { id } }');
      await waitFor(() => happenings.listeners === 1, { what: 'the subscription' });
      await happenings.publish({ act: 'read', text: '' });
      const { data, errors } = await listening.next();
      expect(data).toEqual({ parts: [{ id: 1 }, null] });
      expect(placed(errors)).toEqual([`parts.1: ${FAILED}`]);
      client.leave();
      expect(unhandled.reasons).toEqual([]);
    });
  }
});
