import { setImmediate as nextTurn } from 'node:timers/promises';

import type { EntityManager } from '@mikro-orm/postgresql';
import { Field, Mutation, ObjectType, ResolveField, Resolver } from '@nestjs/graphql';
import { InjectSession } from 'nestjs-db-context';

import { SERVERS, startGraphQLWorld, type GraphQLWorld } from '../support/graphql-world.js';
import { Note } from '../support/note.entity.js';
import { waitFor } from '../support/wait-for.js';

interface RequestContext {
  readonly errors?: readonly { readonly extensions: { readonly code?: string } }[];
}

const codesOf = ({ errors }: RequestContext): (string | undefined)[] =>
  (errors ?? []).map(({ extensions }) => extensions.code);

let isBroken = false;
let encountered: unknown[] = [];

@ObjectType('Written')
class WrittenType {
  @Field()
  text!: string;
}

@Resolver(() => WrittenType)
class WrittenResolver {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Mutation(() => WrittenType)
  async written(): Promise<object> {
    return { text: await this.#write('root') };
  }

  @ResolveField(() => String)
  field(): Promise<string> {
    return this.#write('field');
  }

  async #write(text: string): Promise<string> {
    await this.session.insert(Note, { text });
    return text;
  }
}

/** A class with a private member, which has to be called as itself. */
class WatchingPlugin {
  readonly #calls: string[] = [];

  get calls(): readonly string[] {
    return this.#calls;
  }

  async requestDidStart(): Promise<object> {
    this.#calls.push('requestDidStart');
    return Object.freeze({
      executionDidStart: async () => ({
        executionDidEnd: async () => {
          await nextTurn();
          await nextTurn();
          if (isBroken) {
            throw new Error('the plugin has failed');
          }
        },
      }),
      didEncounterErrors: async (context: RequestContext) =>
        void encountered.push(['didEncounterErrors', codesOf(context)]),
      willSendResponse: async (context: RequestContext) =>
        void encountered.push(['willSendResponse', codesOf(context)]),
    });
  }
}

describe.each(SERVERS.filter(({ server }) => server === 'apollo'))(
  'other plugins of $server over $adapter',
  (server) => {
    let world: GraphQLWorld;
    const plugin = new WatchingPlugin();

    beforeAll(async () => {
      world = await startGraphQLWorld({ server, driverOptions: { plugins: [plugin] } });
    });
    afterAll(() => world.close());
    beforeEach(async () => {
      isBroken = false;
      encountered = [];
      await world.database.query('truncate note');
    });

    it('S1: one that fails as the execution ends fails the request, and nothing is saved', async () => {
      isBroken = true;
      const { status } = await world.ask('mutation { addNote(text: "one") { id } }');
      expect(status).toBe(500);
      await waitFor(() => world.pool().checkedOut === 0 && world.runningContexts() === 0, {
        what: 'the context to be settled',
      });
      expect(await world.savedTexts()).toEqual([]);
      isBroken = false;
      expect((await world.ask('mutation { addNote(text: "two") { id } }')).status).toBe(200);
      expect(await world.savedTexts()).toEqual(['two']);
      expect(plugin.calls).toHaveLength(2);
    });

    it('O1: they see the error of a COMMIT that failed', async () => {
      const { errors } = await world.ask('mutation { addTwice(text: "twice") }');
      expect(errors).toMatchObject([{ extensions: { code: '23505' } }]);
      expect(encountered).toEqual([
        ['didEncounterErrors', ['23505']],
        ['willSendResponse', ['23505']],
      ]);
    });
  },
);

describe.each(SERVERS.filter(({ server }) => server === 'apollo'))(
  'other plugins of $server over $adapter, scope root-field',
  (server) => {
    let world: GraphQLWorld;

    beforeAll(async () => {
      world = await startGraphQLWorld({
        server,
        mount: 'middleware',
        graphql: { scope: 'root-field' },
        providers: [WrittenResolver],
        driverOptions: { plugins: [new WatchingPlugin()] },
      });
    });
    afterAll(() => world.close());

    it('S1: one that fails as the execution ends fails the request, and what fields did is not saved', async () => {
      isBroken = true;
      const { status } = await world.ask('mutation { written { field } }');
      isBroken = false;
      expect(status).toBe(500);
      await waitFor(() => world.pool().checkedOut === 0 && world.runningContexts() === 0, {
        what: 'the contexts to be settled',
      });
      expect(await world.savedTexts()).toEqual(['root']);
    });
  },
);
