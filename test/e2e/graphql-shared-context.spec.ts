import type { EntityManager } from '@mikro-orm/postgresql';
import { Args, Mutation, Resolver } from '@nestjs/graphql';
import { InjectSession } from 'nestjs-db-context';

import { deferred } from '../support/deferred.js';
import { SERVERS, startGraphQLWorld, type GraphQLWorld } from '../support/graphql-world.js';
import { Note } from '../support/note.entity.js';

let reached = deferred();
let gate = deferred();

@Resolver()
class WritingResolver {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Mutation(() => String)
  async write(@Args('text') text: string): Promise<string> {
    await this.session.insert(Note, { text });
    return text;
  }

  @Mutation(() => String)
  async fail(): Promise<string> {
    await this.write('undone');
    reached.resolve();
    await gate.promise;
    throw new Error('failed');
  }
}

interface Execution {
  readonly data?: unknown;
  readonly errors?: readonly { readonly message: string }[];
}
type Execute = (query: string) => Promise<Execution>;

describe.each(SERVERS)('one context object for all, $server over $adapter', (server) => {
  let world: GraphQLWorld;

  beforeAll(async () => {
    world = await startGraphQLWorld({
      server,
      providers: [WritingResolver],
      driverOptions: { context: { plain: 1 } },
    });
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    reached = deferred();
    gate = deferred();
    await world.database.query('truncate note');
  });

  const areKeptApart = async (execute: Execute): Promise<void> => {
    const failing = execute('mutation { fail }');
    await reached.promise;
    const saved = await execute('mutation { one: write(text: "one") two: write(text: "two") }');
    expect(saved.errors).toBeUndefined();
    expect(await world.savedTexts()).toEqual(['one', 'two']);
    gate.resolve();
    expect((await failing).errors).toMatchObject([{ message: 'failed' }]);
    expect(await world.savedTexts()).toEqual(['one', 'two']);
    expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
    expect(world.runningContexts()).toBe(0);
  };

  it('M1: operations that overlap have a context each', async () => {
    await areKeptApart((query) => world.ask(query));
  });

  if (server.server === 'mercurius') {
    it('M1: so they have with app.graphql()', async () => {
      const app = world.app.getHttpAdapter().getInstance() as {
        readonly graphql: (query: string, contextValue: object) => Promise<Execution>;
      };
      const shared = {};
      await areKeptApart((query) => app.graphql(query, shared));
    });
  }
});
