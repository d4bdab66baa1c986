/** What runs below a root field with `@SkipDbContext()`, and what its answer shows of errors of this library. */
import type { EntityManager } from '@mikro-orm/postgresql';
import { Injectable, UseGuards, type CanActivate } from '@nestjs/common';
import {
  Field,
  InterfaceType,
  Mutation,
  ObjectType,
  Query,
  ResolveField,
  Resolver,
  Subscription,
} from '@nestjs/graphql';
import { DbContext, InjectSession, SkipDbContext } from 'nestjs-db-context';

import { connect } from '../support/graphql-client.js';
import { SERVERS, startGraphQLWorld, type GraphQLWorld } from '../support/graphql-world.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { waitFor } from '../support/wait-for.js';

let places: string[] = [];

@Injectable()
class Probe {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  note(place: string): void {
    places.push(`${place}: ${this.dbContext.isActive() ? 'context' : 'none'}`);
  }

  write(text: string): Promise<unknown> {
    return this.session.insert(Note, { text });
  }
}

/** Resolves its type by a class of the application, as unions and interfaces do. */
let probe: Probe | undefined;

@InterfaceType('Thing', {
  resolveType: () => {
    probe?.note('resolveType');
    return ThingType;
  },
})
abstract class AnyThing {
  @Field()
  name!: string;
}

@ObjectType('NamedThing', { implements: () => [AnyThing] })
class ThingType extends AnyThing {}

@Injectable()
class ProbingGuard implements CanActivate {
  constructor(private readonly probed: Probe) {}

  canActivate(): boolean {
    this.probed.note('guard');
    return true;
  }
}

@Injectable()
class WritingGuard implements CanActivate {
  constructor(private readonly probed: Probe) {}

  async canActivate(): Promise<boolean> {
    await this.probed.write('guard');
    return true;
  }
}

@Resolver(() => ThingType)
class ThingsResolver {
  constructor(private readonly probed: Probe) {
    probe = probed;
  }

  @SkipDbContext()
  @UseGuards(ProbingGuard)
  @Query(() => AnyThing)
  skippedThing(): AnyThing {
    this.probed.note('root');
    return { name: 'thing' };
  }

  @UseGuards(ProbingGuard)
  @Query(() => AnyThing)
  thing(): AnyThing {
    this.probed.note('root');
    return { name: 'thing' };
  }

  @SkipDbContext()
  @Mutation(() => ThingType, { nullable: true })
  async skippedMutation(): Promise<AnyThing> {
    return { name: 'mutation' };
  }

  @SkipDbContext()
  @UseGuards(WritingGuard)
  @Query(() => String, { nullable: true })
  skippedGuarded(): string {
    return 'guarded';
  }

  @UseGuards(WritingGuard)
  @Query(() => String, { nullable: true })
  guardedFailure(): string {
    throw new Error('after the guard');
  }

  @UseGuards(WritingGuard)
  @Query(() => String)
  guardedSuccess(): string {
    return 'guarded';
  }

  @SkipDbContext()
  @Subscription(() => ThingType)
  async *skippedEvents(): AsyncGenerator<object> {
    yield { skippedEvents: { name: 'event' } };
  }

  @SkipDbContext()
  @UseGuards(WritingGuard)
  @Subscription(() => ThingType)
  async *refusedEvents(): AsyncGenerator<object> {
    yield { refusedEvents: { name: 'event' } };
  }

  @ResolveField(() => String, { nullable: true })
  place(): string {
    this.probed.note('field');
    return 'seen';
  }

  @ResolveField(() => String, { nullable: true })
  async saved(): Promise<string> {
    await this.probed.write('field');
    return 'saved';
  }
}

const WHOLE_PATH = '{ skippedThing { name ... on NamedThing { place } } }';
const NOT_ACTIVE = {
  message: expect.stringMatching(/^No database context is active here\. [^\n]*$/),
  extensions: { code: 'DB_CONTEXT_NOT_ACTIVE' },
};

describe.each(SERVERS)('@SkipDbContext() on resolvers of $server over $adapter', (server) => {
  const worlds: GraphQLWorld[] = [];
  const log = new LogRecorder();

  const start = async (options: Parameters<typeof startGraphQLWorld>[0]): Promise<GraphQLWorld> => {
    const world = await startGraphQLWorld({
      server,
      providers: [Probe, ProbingGuard, WritingGuard, ThingsResolver],
      driverOptions: {
        subscriptions: { 'graphql-ws': true },
        subscription: { fullWsTransport: true },
        buildSchemaOptions: { orphanedTypes: [ThingType] },
      },
      ...options,
    });
    world.app.useLogger(log);
    worlds.push(world);
    return world;
  };
  const isIdle = (world: GraphQLWorld): Promise<void> =>
    waitFor(() => world.pool().checkedOut === 0 && world.runningContexts() === 0, {
      what: 'all contexts to be settled',
    });

  beforeEach(() => {
    places = [];
    log.lines.length = 0;
  });
  afterAll(() => Promise.all(worlds.map((world) => world.close())));

  describe.each([
    { mount: 'middleware', scope: 'operation' },
    { mount: 'middleware', scope: 'root-field' },
    { mount: 'interceptor', scope: 'operation' },
    { mount: 'interceptor', scope: 'root-field' },
  ] as const)('mount $mount, scope $scope', ({ mount, scope }) => {
    let world: GraphQLWorld;

    beforeAll(async () => {
      world = await start({ mount, graphql: { scope } });
    });
    beforeEach(() => world.database.query('truncate note restart identity'));

    it('L2: guards, type resolvers and fields below the root field have no context', async () => {
      expect((await world.ask(WHOLE_PATH)).errors).toBeUndefined();
      expect(places).toEqual(['guard: none', 'root: none', 'resolveType: none', 'field: none']);
      await isIdle(world);
      expect(world.begins()).toBe(0);
    });

    it('L2: nor where a root field beside it has one', async () => {
      const { errors } = await world.ask(
        '{ thing { name } skippedThing { name ... on NamedThing { place } } }',
      );
      expect(errors).toBeUndefined();
      const ofOther =
        scope === 'operation'
          ? ['guard: context', 'resolveType: context', 'root: context']
          : [
              mount === 'middleware' ? 'guard: context' : 'guard: none',
              mount === 'middleware' ? 'resolveType: context' : 'resolveType: none',
              'root: context',
            ];
      expect(places.toSorted()).toEqual(
        [...ofOther, 'guard: none', 'root: none', 'resolveType: none', 'field: none'].toSorted(),
      );
    });

    it('S5: what they write is refused, with its code and without the line for developers', async () => {
      const ofField = await world.ask('mutation { skippedMutation { name saved } }');
      expect(ofField.data).toEqual({ skippedMutation: { name: 'mutation', saved: null } });
      expect(ofField.errors).toMatchObject([NOT_ACTIVE]);
      const ofGuard = await world.ask('{ skippedGuarded }');
      expect(ofGuard.data).toEqual({ skippedGuarded: null });
      expect(ofGuard.errors).toMatchObject([NOT_ACTIVE]);
      await isIdle(world);
      expect(await world.savedTexts()).toEqual([]);
    });

    it('S5: the same over a WebSocket, and for the events of a subscription', async () => {
      const client = connect(world.url);
      try {
        expect(await client.ask('mutation { skippedMutation { name saved } }')).toMatchObject({
          data: { skippedMutation: { name: 'mutation', saved: null } },
          errors: [NOT_ACTIVE],
        });
        const events = client.listen('subscription { skippedEvents { name saved } }');
        expect(await events.next()).toMatchObject({
          data: { skippedEvents: { name: 'event', saved: null } },
          errors: [NOT_ACTIVE],
        });
        events.stop();
        const refused = client.listen('subscription { refusedEvents { name } }');
        const refusal = await refused.next().catch((error: unknown) => error);
        expect(JSON.stringify(refusal)).toContain('No database context is active here');
        expect(JSON.stringify(refusal)).not.toContain('docs/errors.md');
      } finally {
        client.leave();
      }
    });
  });

  it('W1: what came before a skipped operation in its request is rolled back, and in the log', async () => {
    let before: (() => Promise<unknown>) | undefined;
    const world = await start({
      mount: 'middleware',
      driverOptions: {
        buildSchemaOptions: { orphanedTypes: [ThingType] },
        context: async () => {
          await before?.();
          return {};
        },
      },
    });
    before = () => world.session().insert(Note, { text: 'before' });
    expect((await world.ask('{ skippedThing { name } }')).data).toEqual({
      skippedThing: { name: 'thing' },
    });
    await isIdle(world);
    expect(await world.savedTexts()).toEqual([]);
    expect(log.ofLibrary('error')).toEqual([
      'The work of query (skippedThing) was rolled back: a guard or a middleware had worked in its context ' +
        "(mount: 'middleware'), and the route is under @SkipDbContext(). Take the decorator off, or let them " +
        'work in dbContext.runInNewContext().',
    ]);
    expect((await world.ask('{ thing { name } }')).errors).toBeUndefined();
    expect(await world.savedTexts()).toEqual(['before']);
  });

  it.each([
    ['{ skippedThing { name } }', 'mutation { addNote(text: "one") { text } }'],
    ['mutation { addNote(text: "one") { text } }', '{ skippedThing { name } }'],
  ])('W1: in a batch of %s and %s the other operation is saved', async (...queries) => {
    const world = await start({
      mount: 'middleware',
      driverOptions: {
        buildSchemaOptions: { orphanedTypes: [ThingType] },
        allowBatchedHttpRequests: true,
        allowBatchedQueries: true,
      },
    });
    const response = await world.fetch('/graphql', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(queries.map((query) => ({ query }))),
    });
    expect(await response.json()).toEqual(
      queries.map((query) => ({
        data: query.startsWith('mutation')
          ? { addNote: { text: 'one' } }
          : { skippedThing: { name: 'thing' } },
      })),
    );
    await isIdle(world);
    expect(await world.savedTexts()).toEqual(['one']);
    expect(places).toEqual(['guard: none', 'root: none', 'resolveType: none']);
  });

  it('S2: beside scope root-field, an answer with errors rolls the session of guards and fields back', async () => {
    const world = await start({ mount: 'middleware', graphql: { scope: 'root-field' } });
    expect((await world.ask('{ guardedFailure }')).errors).toMatchObject([
      { message: 'after the guard' },
    ]);
    await isIdle(world);
    expect(await world.savedTexts()).toEqual([]);
    expect((await world.ask('{ guardedSuccess }')).data).toEqual({ guardedSuccess: 'guarded' });
    await isIdle(world);
    expect(await world.savedTexts()).toEqual(['guard']);
  });
});
