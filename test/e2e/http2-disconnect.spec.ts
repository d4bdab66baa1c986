import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Injectable, Param, UseGuards, type CanActivate } from '@nestjs/common';
import { InjectSession, RetryOnSerializationFailure } from 'nestjs-db-context';
import { dbContextChannels } from 'nestjs-db-context/telemetry';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { http2Adapter, type Http2AdapterName } from '../support/http2-adapters.js';
import { Http2Client } from '../support/http2-client.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

const RESETS = 20;

let reached: number;
let started: string[];
let mayGoOn: Deferred<void>;
/** What the handlers came to. */
let ended: unknown[];

@Injectable()
class SlowGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    reached++;
    await mayGoOn.promise;
    return true;
  }
}

@Injectable()
class RefusingGuard implements CanActivate {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async canActivate(): Promise<boolean> {
    try {
      await this.session.insert(Note, { text: 'of the guard' });
      ended.push('written');
    } catch (error) {
      ended.push((error as { code: string }).code);
    }
    return false;
  }
}

@Controller()
class ResetController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get('write/:key')
  async write(@Param('key') key: string): Promise<string> {
    try {
      await this.session.insert(Note, { text: `${key} first` });
      reached++;
      await mayGoOn.promise;
      await this.session.insert(Note, { text: `${key} second` });
      ended.push('done');
      return 'done';
    } catch (error) {
      ended.push(error);
      throw error;
    }
  }

  @UseGuards(SlowGuard)
  @Get('guarded')
  async guarded(): Promise<string> {
    started.push('guarded');
    await this.session.insert(Note, { text: 'guarded' });
    return 'done';
  }

  @UseGuards(RefusingGuard)
  @Get('refused')
  refused(): string {
    return 'never';
  }

  /** Fails as a transaction does that another one has overtaken, once it may go on. */
  @RetryOnSerializationFailure({ attempts: 3, backoffMs: 1 })
  @Get('retried')
  async retried(): Promise<string> {
    started.push('retried');
    reached++;
    await mayGoOn.promise;
    await this.session.execute(
      `do $$ begin raise exception 'overtaken' using errcode = '40001'; end $$`,
    );
    return 'done';
  }
}

describe.each<Http2AdapterName>(['express', 'fastify'])('HTTP/2 clients over %s', (name) => {
  let world: TestWorld;
  let client: Http2Client;
  /** The streams of the server, in their order. */
  let streams: { readonly destroyed: boolean }[];

  beforeEach(() => {
    reached = 0;
    started = [];
    ended = [];
    mayGoOn = deferred();
    streams = [];
  });
  afterEach(async () => {
    mayGoOn.resolve();
    await client.leave();
    await world.close();
  });

  const start = async (options: Parameters<typeof startWorld>[1] = {}): Promise<void> => {
    world = await startWorld(
      { poolMax: RESETS },
      { adapter: http2Adapter(name), controllers: [ResetController], ...options },
    );
    world.app
      .getHttpServer()
      .on('stream', (stream: { readonly destroyed: boolean }) => streams.push(stream));
    client = new Http2Client(world.url);
  };
  const reach = (count: number): Promise<void> =>
    waitFor(() => reached === count, { what: `${count} requests to get there` });
  const allAreReset = (): Promise<void> =>
    waitFor(() => streams.every(({ destroyed }) => destroyed), {
      what: 'the server to know that the streams were reset',
    });
  const contextsAreGone = async (): Promise<void> => {
    await waitFor(() => world.app.get(ContextRegistry).runningCount === 0, {
      what: 'the contexts to end',
    });
    await world.serverIsIdle();
    expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
  };

  it('S1: a request that is not reset is answered after its commit', async () => {
    await start({ onDisconnect: 'rollback' });
    mayGoOn.resolve();
    expect(await client.get('/write/a').response()).toEqual({ status: 200, body: 'done' });
    await contextsAreGone();
    expect(await world.savedTexts()).toEqual(['a first', 'a second']);
  });

  it(`S4: ${RESETS} requests that are reset are rolled back at once (rollback)`, async () => {
    await start({ onDisconnect: 'rollback' });
    const requests = Array.from({ length: RESETS }, (_, index) => client.get(`/write/${index}`));
    await reach(RESETS);
    requests.forEach((request) => request.reset());
    // The handlers are still held: nothing but the resets can have ended them.
    await contextsAreGone();
    mayGoOn.resolve();
    await waitFor(() => ended.length === RESETS, { what: 'the handlers to end' });
    expect(ended.map((error) => (error as { code?: string }).code)).toEqual(
      Array.from({ length: RESETS }, () => 'SESSION_CLOSED'),
    );
    expect(await world.savedTexts()).toEqual([]);
  });

  it('S4: so are those of a client whose connection is gone (rollback)', async () => {
    await start({ onDisconnect: 'rollback' });
    client.get('/write/a');
    client.get('/write/b');
    await reach(2);
    await client.leave();
    await contextsAreGone();
    mayGoOn.resolve();
    await waitFor(() => ended.length === 2, { what: 'the handlers to end' });
    expect(await world.savedTexts()).toEqual([]);
  });

  it('S4: they run on and commit (finish)', async () => {
    await start();
    const request = client.get('/write/a');
    await reach(1);
    request.reset();
    await allAreReset();
    expect(world.app.get(ContextRegistry).runningCount).toBe(1);
    mayGoOn.resolve();
    await contextsAreGone();
    expect(ended).toEqual(['done']);
    expect(await world.savedTexts()).toEqual(['a first', 'a second']);
  });

  it('S4: a handler is not started for a request that was reset during the guards (rollback)', async () => {
    await start({ onDisconnect: 'rollback' });
    const contexts = deferred();
    const onEnd = (): void => contexts.resolve();
    dbContextChannels.contextEnd.subscribe(onEnd);
    const request = client.get('/guarded');
    await reach(1);
    request.reset();
    await allAreReset();
    mayGoOn.resolve();
    await contexts.promise;
    dbContextChannels.contextEnd.unsubscribe(onEnd);
    expect([started, await world.savedTexts()]).toEqual([[], []]);
  });

  it.each(['finish', 'rollback'] as const)(
    'S4: a handler is not run again for a request that was reset (%s)',
    async (onDisconnect) => {
      await start({ onDisconnect });
      const request = client.get('/retried');
      await reach(1);
      request.reset();
      await allAreReset();
      mayGoOn.resolve();
      await contextsAreGone();
      expect(started).toEqual(['retried']);
    },
  );

  it('S4: a handler is run again for a request that was not', async () => {
    await start();
    const request = client.get('/retried');
    mayGoOn.resolve();
    expect((await request.response()).status).toBe(500);
    expect(started).toEqual(['retried', 'retried', 'retried']);
  });

  it(`S4: a request that was reset before the context was opened ends it (mount: 'middleware')`, async () => {
    await start({
      mount: 'middleware',
      configure: (app) =>
        app.use(async (_request: unknown, _response: unknown, next: () => void) => {
          reached++;
          await mayGoOn.promise;
          next();
        }),
    });
    const request = client.get('/refused');
    await reach(1);
    request.reset();
    await allAreReset();
    mayGoOn.resolve();
    await waitFor(() => ended.length === 1, { what: 'the guard' });
    await contextsAreGone();
    expect([ended, await world.savedTexts()]).toEqual([['SESSION_CLOSED'], []]);
  });
});
