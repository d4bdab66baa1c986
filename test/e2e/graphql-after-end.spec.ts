import type { EntityManager } from '@mikro-orm/postgresql';
import { Injectable, UseGuards, type CanActivate } from '@nestjs/common';
import { Args, Field, Mutation, ObjectType, ResolveField, Resolver } from '@nestjs/graphql';
import { InjectSession, SkipDbContext } from 'nestjs-db-context';
import { Client } from 'pg';

import { deferred, type Deferred } from '../support/deferred.js';
import { SERVERS, startGraphQLWorld, type GraphQLWorld } from '../support/graphql-world.js';
import { Note } from '../support/note.entity.js';
import { waitFor } from '../support/wait-for.js';

const HELD_LOCK = 4711;

let reached: Deferred<void>;
let gate: Deferred<void>;
let isOver: Deferred<void>;

@ObjectType()
class Work {
  @Field(() => Work, { nullable: true })
  later?: object | null;
}

@Injectable()
class GateGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    await gate.promise;
    return true;
  }
}

@Resolver(() => Work)
class WorkResolver {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Mutation(() => Work, { nullable: true })
  async work(): Promise<object> {
    await this.session.insert(Note, { text: 'work' });
    return {};
  }

  @Mutation(() => String, { nullable: true })
  async write(@Args('text') text: string): Promise<string> {
    await this.session.insert(Note, { text });
    return text;
  }

  @UseGuards(GateGuard)
  @Mutation(() => String, { nullable: true })
  guarded(): Promise<string> {
    return this.write('guarded');
  }

  @Mutation(() => String, { nullable: true })
  async stuck(): Promise<string> {
    reached.resolve();
    await gate.promise;
    return 'stuck';
  }

  /** Waits for a lock that the spec holds. */
  @Mutation(() => String, { nullable: true })
  async waiting(): Promise<string> {
    await this.session.execute(`select pg_advisory_xact_lock(${HELD_LOCK})`);
    return 'waiting';
  }

  /** Outside of the context, so that it runs whatever has become of it. */
  @SkipDbContext()
  @Mutation(() => String)
  end(): string {
    isOver.resolve();
    return 'end';
  }

  @ResolveField(() => String)
  breaks(): string {
    throw new Error('broken');
  }

  @ResolveField(() => Work)
  async later(): Promise<object> {
    await gate.promise;
    isOver.resolve();
    return {};
  }

  @ResolveField(() => String, { nullable: true })
  writes(): Promise<string> {
    return this.write('field');
  }
}

describe.each(SERVERS)('$server over $adapter after the context has ended', (server) => {
  let world: GraphQLWorld;

  const start = async (options: Parameters<typeof startGraphQLWorld>[0]): Promise<void> => {
    world = await startGraphQLWorld({
      server,
      providers: [WorkResolver, GateGuard],
      driverOptions: { fieldResolverEnhancers: ['interceptors', 'guards'] },
      ...options,
    });
  };

  beforeEach(async () => {
    reached = deferred();
    gate = deferred();
    isOver = deferred();
    await world.database.query('truncate note');
  });

  /** Whatever could still write has had its turn when an operation after it has been answered. */
  const nothingIsSaved = async (): Promise<void> => {
    await waitFor(() => world.pool().checkedOut === 0 && world.runningContexts() === 0, {
      what: 'all contexts to be settled',
    });
    expect((await world.ask('mutation { write(text: "last") }')).errors).toBeUndefined();
    expect(await world.savedTexts()).toEqual(['last']);
  };

  describe('by contextTimeoutMs', () => {
    beforeAll(() => start({ contextTimeoutMs: 500 }));
    afterAll(() => world.close());

    it('S4: later root fields of a mutation are refused, and its partial data says that it is lost', async () => {
      const { data, errors } = await world.ask(
        'mutation { one: write(text: "one") stuck three: write(text: "three") four: work { writes } }',
      );
      expect(data).toEqual({ one: 'one', stuck: null, three: null, four: null });
      expect(errors).toMatchObject([
        { path: ['stuck'], extensions: { code: 'CONTEXT_TIMEOUT' } },
        { path: ['three'], extensions: { code: 'CONTEXT_TIMEOUT' } },
        { path: ['four'], extensions: { code: 'CONTEXT_TIMEOUT' } },
        { extensions: { code: 'ROLLED_BACK' } },
      ]);
      gate.resolve();
      await nothingIsSaved();
    });

    it('S5: a field whose guard was slower than the context does not run', async () => {
      const { data, errors } = await world.ask('mutation { guarded end }');
      expect([data, errors]).toMatchObject([
        { guarded: null, end: 'end' },
        [{ extensions: { code: 'CONTEXT_TIMEOUT' } }],
      ]);
      gate.resolve();
      await nothingIsSaved();
    });

    it('F6: the answer does not wait for a statement that still runs', async () => {
      const holder = new Client({ connectionString: world.database.url });
      await holder.connect();
      await holder.query(`select pg_advisory_lock(${HELD_LOCK})`);
      const from = performance.now();
      const { errors } = await world.ask('mutation { waiting }');
      const tookMs = performance.now() - from;
      await holder.end();
      expect(errors?.[0]).toMatchObject({ extensions: { code: 'CONTEXT_TIMEOUT' } });
      expect(tookMs).toBeLessThan(4_000);
      await nothingIsSaved();
    });
  });

  describe('by its settlement, or by its client, who leaves', () => {
    beforeAll(() => start({ onDisconnect: 'rollback' }));
    afterAll(() => world.close());

    it('S5: field resolvers that begin after the answer are refused', async () => {
      const { data, errors } = await world.ask('mutation { work { breaks later { writes } } }');
      expect([data, errors?.[0]]).toMatchObject([{ work: null }, { message: 'broken' }]);
      gate.resolve();
      await isOver.promise;
      await nothingIsSaved();
    });

    it("S4: with onDisconnect: 'rollback' later root fields are refused", async () => {
      const client = new AbortController();
      const answer = world.fetch('/graphql', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          query:
            'mutation { one: write(text: "one") stuck two: write(text: "two") work { writes } end }',
        }),
        signal: client.signal,
      });
      const isAborted = expect(answer).rejects.toMatchObject({ name: 'AbortError' });
      await reached.promise;
      client.abort();
      await isAborted;
      await waitFor(() => world.runningContexts() === 0, { what: 'the context to be ended' });
      gate.resolve();
      await isOver.promise;
      await nothingIsSaved();
    });
  });
});
