import type { EntityManager } from '@mikro-orm/postgresql';
import { Int, Mutation, Query, Resolver } from '@nestjs/graphql';
import { InjectSession } from 'nestjs-db-context';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { SERVERS, startGraphQLWorld, type GraphQLWorld } from '../support/graphql-world.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { waitFor } from '../support/wait-for.js';

let reached: Deferred<void>;
let gate: Deferred<void>;
let lateWrite: Promise<unknown> | undefined;

@Resolver()
class SlowResolver {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Query(() => Int)
  slowQuery(): Promise<number> {
    return this.slow();
  }

  @Mutation(() => Int)
  async slow(): Promise<number> {
    await this.session.insert(Note, { text: 'early' });
    reached.resolve();
    await gate.promise;
    lateWrite = this.session.insert(Note, { text: 'late' });
    await lateWrite;
    return 1;
  }
}

describe.each(SERVERS)('faults around operations of $server over $adapter', (server) => {
  let world: GraphQLWorld;

  const start = async (options: Parameters<typeof startGraphQLWorld>[0]): Promise<GraphQLWorld> => {
    world = await startGraphQLWorld({ server, providers: [SlowResolver], ...options });
    return world;
  };

  beforeEach(() => {
    reached = deferred();
    gate = deferred();
    lateWrite = undefined;
  });
  afterEach(async () => {
    gate.resolve();
    await world.close();
  });

  const allIsUndone = async (): Promise<void> => {
    await waitFor(() => world.pool().checkedOut === 0 && world.runningContexts() === 0, {
      what: 'the context to be settled',
    });
    expect(await world.savedTexts()).toEqual([]);
  };

  it('F6: an operation that is open for too long is rolled back and answered', async () => {
    await start({ contextTimeoutMs: 300 });
    const log = new LogRecorder();
    world.app.useLogger(log);
    const { status, data, errors } = await world.ask('mutation { slow }');
    expect([status, data]).toEqual([200, null]);
    expect(log.ofLibrary('error')).toEqual([expect.stringMatching(/mutation \(slow\).*300 ms/)]);
    expect(errors).toMatchObject([
      { message: expect.stringContaining('300 ms'), extensions: { code: 'CONTEXT_TIMEOUT' } },
    ]);
    await allIsUndone();
    gate.resolve();
    await waitFor(() => lateWrite !== undefined, { what: 'the resolver to go on' });
    await expect(lateWrite).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
    await allIsUndone();
  });

  it("S4: with onDisconnect: 'rollback' an operation ends as its client leaves", async () => {
    await start({ onDisconnect: 'rollback' });
    const client = new AbortController();
    const answer = world.fetch('/graphql', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query: 'mutation { slow }' }),
      signal: client.signal,
    });
    const isAborted = expect(answer).rejects.toMatchObject({ name: 'AbortError' });
    await reached.promise;
    client.abort();
    await isAborted;
    await allIsUndone();
    gate.resolve();
    await waitFor(() => lateWrite !== undefined, { what: 'the resolver to go on' });
    await expect(lateWrite).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
    await allIsUndone();
  });

  it('H3: a shutdown refuses new operations, waits for running ones, and cuts them off', async () => {
    await start({});
    const running = world.ask('mutation { slow }');
    await reached.promise;
    const drained = world.app.get(ContextRegistry).shutdown.drain(500);
    const { status, errors } = await world.ask('{ nothing }');
    expect(status).toBe(503);
    expect(errors).toMatchObject([
      {
        message: expect.stringContaining('shutting down'),
        extensions: { code: 'SHUTTING_DOWN' },
      },
    ]);
    await drained;
    const cutOff = await running;
    expect(cutOff.errors).toMatchObject([
      { message: expect.stringContaining('took too long'), extensions: { code: 'SHUTTING_DOWN' } },
    ]);
    await allIsUndone();
  });

  it('H3: app.close() refuses with 503 at first, and cuts off at shutdownTimeoutMs', async () => {
    await start({ shutdownTimeoutMs: 1_000 });
    const running = world.ask('mutation { slow }');
    await reached.promise;
    const from = performance.now();
    const isClosed = world.app.close();
    await waitFor(() => world.app.get(ContextRegistry).shutdown.hasBegun, { what: 'the drain' });
    expect((await world.ask('{ nothing }')).status).toBe(503);
    expect((await running).errors).toMatchObject([{ extensions: { code: 'SHUTTING_DOWN' } }]);
    expect(performance.now() - from).toBeLessThan(6_000);
    gate.resolve();
    await isClosed;
    expect(await world.savedTexts()).toEqual([]);
  });
});
