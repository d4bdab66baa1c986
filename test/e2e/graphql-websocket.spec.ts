import type { EntityManager } from '@mikro-orm/postgresql';
import { Mutation, Resolver, Int } from '@nestjs/graphql';
import { InjectSession, RetryOnSerializationFailure } from 'nestjs-db-context';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { deferred } from '../support/deferred.js';
import { connect, type GraphQLClient } from '../support/graphql-client.js';
import { Happenings, HappeningsResolver } from '../support/graphql-events.js';
import { SERVERS, startGraphQLWorld, type GraphQLWorld } from '../support/graphql-world.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { waitFor } from '../support/wait-for.js';

let attempts = 0;

@Resolver()
class SlowResolver {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly happenings: Happenings,
  ) {}

  @Mutation(() => Int)
  async slow(): Promise<number> {
    await this.session.insert(Note, { text: 'early' });
    this.happenings.reached.resolve();
    await this.happenings.gate.promise;
    this.happenings.late = this.session.insert(Note, { text: 'late' });
    await this.happenings.late;
    return 1;
  }

  @RetryOnSerializationFailure({ attempts: 2, backoffMs: 1 })
  @Mutation(() => Int)
  async retried(): Promise<number> {
    attempts++;
    await this.session.insert(Note, { text: `attempt ${attempts}` });
    if (attempts < 2) {
      await this.session.execute(
        `do $$ begin raise exception 'concurrent' using errcode = '40001'; end $$`,
      );
    }
    return attempts;
  }
}

const HAPPENING = 'subscription { happening { text xid } }';

describe.each(SERVERS)('a WebSocket of $server over $adapter', (server) => {
  let world: GraphQLWorld;
  let happenings: Happenings;
  let client: GraphQLClient;
  const log = new LogRecorder();

  const start = async (options: Parameters<typeof startGraphQLWorld>[0]): Promise<void> => {
    world = await startGraphQLWorld({
      server,
      providers: [Happenings, HappeningsResolver, SlowResolver],
      driverOptions: {
        subscriptions: { 'graphql-ws': true },
        subscription: { fullWsTransport: true },
      },
      ...options,
    });
    world.app.useLogger(log);
    happenings = world.app.get(Happenings);
    client = connect(world.url);
  };
  const isIdle = (): Promise<void> =>
    waitFor(() => world.runningContexts() === 0 && world.pool().checkedOut === 0, {
      what: 'all contexts to be settled',
      timeoutMs: 3_000,
    });
  const isSubscribed = (): Promise<void> =>
    waitFor(() => happenings.listeners === 1, { what: 'the subscription', timeoutMs: 3_000 });

  beforeEach(() => {
    attempts = 0;
    log.lines.length = 0;
  });

  describe('with the defaults', () => {
    beforeAll(() => start({}));
    afterAll(() => world?.close());
    beforeEach(async () => {
      await world.database.query('truncate note restart identity');
      world.proxy.reset();
      happenings.reached = deferred();
      happenings.gate = deferred();
    });
    afterEach(isIdle);

    it('W1: a query is one transaction, with its guard, loaders and lazy relations', async () => {
      const { data, errors } = await client.ask(
        '{ guarded { id xid loadedBooks { title } relatedBooks { title } books { title } } }',
      );
      expect(errors).toBeUndefined();
      const authors = data!['guarded'] as unknown as { xid: string }[];
      expect(authors).toHaveLength(20);
      expect(new Set(authors.map(({ xid }) => xid)).size).toBe(1);
      expect(world.begins()).toBe(1);
      expect(await client.ask('{ nothing }')).toEqual({ data: { nothing: 'nothing' } });
      expect(world.begins()).toBe(1);
    });

    it('S2: a mutation of three fields whose second fails saves nothing, and says so', async () => {
      const { data, errors } = await client.ask(
        'mutation { one: addNote(text: "one") { id } refuse(text: "two") { id } three: addNote(text: "three") { id } }',
      );
      expect(data).toEqual({ one: { id: 1 }, refuse: null, three: { id: 3 } });
      expect(errors).toMatchObject([
        { message: 'refused', path: ['refuse'] },
        { extensions: { code: 'ROLLED_BACK' } },
      ]);
      expect(await world.savedTexts()).toEqual([]);
    });

    it('S1: a COMMIT that fails becomes an error of the answer, which leaves after it', async () => {
      expect(await client.ask('mutation { addTwice(text: "twice") }')).toMatchObject({
        data: null,
        errors: [{ extensions: { code: '23505' } }],
      });
      let isAnswered = false;
      let wasAnsweredBefore: boolean | undefined;
      world.proxy.onStatement = (sql) => {
        if (/^commit\b/i.test(sql)) {
          wasAnsweredBefore = isAnswered;
        }
      };
      await client.ask('mutation { addNote(text: "one") { id } }');
      isAnswered = true;
      expect(wasAnsweredBefore).toBe(false);
      expect(await world.savedTexts()).toEqual(['one']);
    });

    it('F4: a mutation of one root field runs again after a serialization failure', async () => {
      expect(await client.ask('mutation { retried }')).toEqual({ data: { retried: 2 } });
      expect(await world.savedTexts()).toEqual(['attempt 2']);
    });

    it('S4: an event is rolled back whose client ends the subscription, and it is in the log', async () => {
      const listening = client.listen(HAPPENING);
      await isSubscribed();
      await happenings.publish({ act: 'slow', text: 'unsent' });
      await happenings.reached.promise;
      listening.stop();
      await isIdle();
      happenings.gate.resolve();
      await waitFor(() => happenings.late !== undefined, { what: 'the resolver to go on' });
      await expect(happenings.late).rejects.toMatchObject({
        code: 'SESSION_CLOSED',
        message: expect.stringContaining('because the subscription of its event has ended'),
      });
      expect(await world.savedTexts()).toEqual([]);
      expect(listening.waiting()).toBe(0);
      expect(log.ofLibrary('error')).toEqual([
        expect.stringContaining('subscription (happening) was rolled back: its client has left'),
      ]);
    });
  });

  describe('with faults', () => {
    afterEach(async () => {
      happenings.gate.resolve();
      client.leave();
      await world.close();
    });

    it('F6: an event that takes too long is rolled back and sent with an error, and the next one comes', async () => {
      await start({ contextTimeoutMs: 300 });
      const listening = client.listen(HAPPENING);
      await isSubscribed();
      await happenings.publish({ act: 'slow', text: 'slow' });
      expect(await listening.next()).toMatchObject({
        data: { happening: null },
        errors: [{ extensions: { code: 'CONTEXT_TIMEOUT' } }],
      });
      await happenings.publish({ act: 'write', text: 'quick' });
      expect((await listening.next()).data).toMatchObject({ happening: { text: 'quick' } });
      await isIdle();
      expect(await world.savedTexts()).toEqual(['filtered quick', 'quick']);
    });

    it('F6: a subscription whose resolver takes too long is refused, and its source is closed', async () => {
      await start({ contextTimeoutMs: 300 });
      const listening = client.listen('subscription { greeting(act: "slow") }');
      // Apollo Server answers with errors, Mercurius with an error of the protocol.
      const refused = await listening
        .next()
        .then(({ errors }) => errors)
        .catch((errors: unknown) => errors);
      expect(refused).toMatchObject([{ extensions: { code: 'CONTEXT_TIMEOUT' } }]);
      await isIdle();
      happenings.gate.resolve();
      await waitFor(() => happenings.late !== undefined, { what: 'the resolver to go on' });
      await expect(happenings.late).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
      expect(happenings.listeners).toBe(0);
      expect(await world.savedTexts()).toEqual([]);
    });

    it("S4: with onDisconnect: 'rollback' a mutation ends as its client leaves", async () => {
      await start({ onDisconnect: 'rollback' });
      const answer = client.ask('mutation { slow }').catch((error: unknown) => error);
      await happenings.reached.promise;
      client.leave();
      await answer;
      await isIdle();
      happenings.gate.resolve();
      await waitFor(() => happenings.late !== undefined, { what: 'the resolver to go on' });
      await expect(happenings.late).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
      expect(await world.savedTexts()).toEqual([]);
    });

    it('H3: a shutdown waits for an event, lets events in, and refuses mutations', async () => {
      await start({});
      const listening = client.listen(HAPPENING);
      await isSubscribed();
      await happenings.publish({ act: 'slow', text: 'running' });
      await happenings.reached.promise;
      let isDrained = false;
      const drained = world.app
        .get(ContextRegistry)
        .shutdown.drain(5_000)
        .then(() => (isDrained = true));
      // Apollo Server answers with errors, Mercurius with an error of the protocol.
      const refused = await client
        .ask('mutation { addNote(text: "refused") { id } }')
        .then(({ errors }) => errors)
        .catch((errors: unknown) => errors);
      expect(refused).toMatchObject([
        {
          message: expect.stringContaining('shutting down'),
          extensions: { code: 'SHUTTING_DOWN' },
        },
      ]);
      expect(isDrained).toBe(false);
      happenings.gate.resolve();
      expect((await listening.next()).data).toMatchObject({ happening: { text: 'running' } });
      await drained;
      await happenings.publish({ act: 'write', text: 'let in' });
      expect((await listening.next()).data).toMatchObject({ happening: { text: 'let in' } });
      expect(await world.savedTexts()).toEqual([
        'filtered running',
        'running',
        'late running',
        'filtered let in',
        'let in',
      ]);
    });

    it.each(['operation', 'root-field'] as const)(
      'H3: the end of the application waits for the answer to a mutation, and for an event (%s)',
      async (scope) => {
        await start({ graphql: { scope } });
        const listening = client.listen(HAPPENING);
        await isSubscribed();
        const answer = client.ask('mutation { slow }');
        await happenings.reached.promise;
        await happenings.publish({ act: 'slow', text: 'event' });
        await waitFor(() => world.pool().checkedOut === 2, { what: 'both to be running' });
        const closed = world.app.close();
        await waitFor(() => world.app.get(ContextRegistry).shutdown.hasBegun, {
          what: 'the shutdown',
          timeoutMs: 3_000,
        });
        happenings.gate.resolve();
        expect(await answer).toEqual({ data: { slow: 1 } });
        expect((await listening.next()).data).toMatchObject({ happening: { text: 'event' } });
        await closed;
        expect((await world.savedTexts()).toSorted()).toEqual([
          'early',
          'event',
          'filtered event',
          'late',
          'late event',
        ]);
      },
    );

    it("W1: mount: 'middleware' opens nothing for a WebSocket", async () => {
      await start({ mount: 'middleware' });
      const listening = client.listen(HAPPENING);
      await isSubscribed();
      await isIdle();
      await happenings.publish({ act: 'write', text: 'one' });
      expect((await listening.next()).data).toMatchObject({ happening: { text: 'one' } });
      expect((await client.ask('mutation { addNote(text: "two") { id } }')).errors).toBeUndefined();
      await isIdle();
      expect(await world.savedTexts()).toEqual(['filtered one', 'one', 'two']);
    });

    it('W1: with root fields as scope, each of them is by itself, and an event is one of them', async () => {
      await start({ graphql: { scope: 'root-field' } });
      const { errors } = await client.ask(
        'mutation { one: addNote(text: "one") { text } refuse(text: "two") { text } }',
      );
      expect(errors).toMatchObject([{ message: 'refused' }]);
      const listening = client.listen('subscription { greeting(act: "write") }');
      await isSubscribed();
      await happenings.publish({ act: 'read', text: 'event' });
      expect((await listening.next()).data).toEqual({ greeting: 'event true' });
      expect(await world.savedTexts()).toEqual(['one', 'greeting']);
    });
  });
});
