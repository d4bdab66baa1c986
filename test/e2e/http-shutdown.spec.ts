import { Controller, Get, Injectable, UseGuards, type CanActivate } from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { InjectSession, SessionClosedError, ShuttingDownError } from 'nestjs-db-context';

import type { Context } from '../../lib/context/context.js';
import { ContextRegistry } from '../../lib/context/context-registry.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { holdStatement } from '../support/hold-statement.js';
import { Note } from '../support/note.entity.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

let reached: Deferred<void>;
let mayGoOn: Deferred<void>;
let done: Deferred<unknown>;

const QUESTION = 'select 1 as question';
const GUARDING = 'select 1 as guarding';

@Injectable()
class AskingGuard implements CanActivate {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async canActivate(): Promise<boolean> {
    await this.session.count(Note);
    await this.session.execute(GUARDING);
    return true;
  }
}

@Controller()
class SlowController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get('slow')
  async slow(): Promise<string> {
    try {
      await this.session.persist(new Note('first')).flush();
      reached.resolve();
      await mayGoOn.promise;
      await this.session.persist(new Note('second')).flush();
      done.resolve('done');
      return 'done';
    } catch (error) {
      done.resolve(error);
      throw error;
    }
  }

  @Get('asking')
  async asking(): Promise<string> {
    await this.session.persist(new Note('first')).flush();
    await this.session.execute(QUESTION);
    return 'asked';
  }

  @UseGuards(AskingGuard)
  @Get('guarded')
  guarded(): string {
    return 'guarded';
  }

  @Get('quick')
  quick(): string {
    return 'quick';
  }
}

describe.each<AdapterName>(['express', 'fastify'])('shutdown over %s', (adapter) => {
  let world: TestWorld;
  let closing: Promise<void> | undefined;

  beforeEach(() => {
    reached = deferred();
    mayGoOn = deferred();
    done = deferred<unknown>();
    closing = undefined;
  });

  afterEach(async () => {
    mayGoOn.resolve();
    await closing;
    if (world !== undefined) {
      await world.app.close();
      await poolIsClosed();
      await world.close();
    }
  });

  const poolIsClosed = () =>
    waitFor(() => world.proxy.openConnections === 0, {
      what: 'the pool to be closed',
      timeoutMs: 3_000,
    });

  const start = async (
    options: Parameters<typeof startWorld>[1] = {},
    limits: Parameters<typeof startWorld>[0] = {},
  ): Promise<void> => {
    world = await startWorld(limits, { adapter, controllers: [SlowController], ...options });
  };
  const isDraining = () =>
    waitFor(() => world.app.get(ContextRegistry).shutdown.hasBegun, {
      what: 'the drain to begin',
    });
  const ends = () => world.proxy.log.filter((sql) => /^(commit|rollback)/.test(sql));

  it('H3: a handler that ends within shutdownTimeoutMs commits and is answered', async () => {
    await start();
    const answer = world.fetch('/slow');
    await reached.promise;
    closing = world.app.close();
    await isDraining();
    mayGoOn.resolve();
    const response = await answer;
    expect(response.status).toBe(200);
    expect(await response.text()).toBe('done');
    await closing;
    expect(await world.savedTexts()).toEqual(['first', 'second']);
    expect(ends()).toEqual(['commit']);
  });

  it('H3: app.close() closes the pool, rather than leave it to its idle timeout', async () => {
    await start();
    mayGoOn.resolve();
    expect((await world.fetch('/slow')).status).toBe(200);
    expect(world.proxy.openConnections).toBe(1);
    await world.app.close();
    await poolIsClosed();
  });

  it.each([
    ['one', '/asking', QUESTION, 'interceptor'],
    ['one', '/asking', QUESTION, 'middleware'],
    ['a guard', '/guarded', GUARDING, 'middleware'],
  ] as const)(
    'H3: %s that is cut off while a statement runs is answered with 503 as well (%s, %s, mount: %s)',
    async (_, path, statement, mount) => {
      await start({ shutdownTimeoutMs: 100, mount });
      let context: Context | undefined;
      const registry = world.app.get(ContextRegistry);
      const detach = registry.attach({ opened: (opened) => (context = opened) });
      const question = holdStatement(world.proxy, statement);
      const answer = world.fetch(path);
      await question.reached;
      closing = world.app.close();
      await waitFor(() => context!.isClosed, { what: 'the context to be cut off' });
      question.release();
      detach();
      const response = await answer;
      expect([response.status, await response.json()]).toMatchObject([
        503,
        {
          message:
            'The application is shutting down. The request took too long, and was rolled back.',
        },
      ]);
      await closing;
      expect([await world.savedTexts(), ends()]).toEqual([[], ['rollback']]);
    },
  );

  it.each([
    ['a handler', '/asking', 'interceptor'],
    ['a handler', '/asking', 'middleware'],
    ['a guard', '/guarded', 'middleware'],
  ] as const)(
    'H3: so is %s that is cut off while it waits for a connection (%s, mount: %s)',
    async (_, path, mount) => {
      await start({ shutdownTimeoutMs: 100, mount }, { poolMax: 1 });
      const pool = await world.connection().pool();
      const client = await pool.connect();
      const answer = world.fetch(path);
      await waitFor(() => pool.waitingCount === 1, { what: 'the request to wait' });
      closing = world.app.close();
      expect((await answer).status).toBe(503);
      client.release();
      await closing;
      expect(await world.savedTexts()).toEqual([]);
    },
  );

  it('H3: a handler that does not is rolled back, once', async () => {
    await start({ shutdownTimeoutMs: 100 });
    const answer = world.fetch('/slow').catch(() => undefined);
    await reached.promise;
    closing = world.app.close();
    await closing;
    await world.serverIsIdle();
    mayGoOn.resolve();
    expect(await done.promise).toBeInstanceOf(SessionClosedError);
    await answer;
    expect(ends()).toEqual(['rollback']);
    expect(await world.savedTexts()).toEqual([]);
  });

  it.each(['interceptor', 'middleware'] as const)(
    'H3: new requests get 503 during the drain (mount: %s)',
    async (mount) => {
      await start({ mount });
      const answer = world.fetch('/slow');
      await reached.promise;
      closing = world.app.close();
      await isDraining();
      const refused = await world.fetch('/quick');
      expect(refused.status).toBe(503);
      expect(refused.headers.get('connection')).toBe('close');
      // Nothing of the inside: neither a class nor a route.
      expect(await refused.json()).toEqual({
        statusCode: 503,
        message: 'The application is shutting down. Send the request again.',
        error: 'Service Unavailable',
      });
      mayGoOn.resolve();
      expect((await answer).status).toBe(200);
      await closing;
      expect(await world.savedTexts()).toEqual(['first', 'second']);
    },
  );
});

describe('shutdown, and work that is no request', () => {
  let world: TestWorld;
  let closing: Promise<void> | undefined;
  const mayEnd = deferred();

  beforeAll(async () => {
    world = await startWorld({}, { shutdownTimeoutMs: 200 });
  });
  afterAll(async () => {
    mayEnd.resolve();
    await closing;
    await world.close();
  });

  it('H3: sessions outside the context are waited for, and then rolled back', async () => {
    const holds = deferred();
    const patient = deferred();
    const inner = world.dbContext.run(async () => {
      await world.session().insert(Note, { text: 'outer' });
      await patient.promise;
      // Let in before, so what it needs to end is let in as well.
      await world.dbContext.newAtomicSession((em: EntityManager) =>
        em.insert(Note, { text: 'own session' }),
      );
      await world.dbContext.runInNewContext(() => world.session().insert(Note, { text: 'inner' }));
    });
    const endless = world.dbContext.newAtomicSession(async (em: EntityManager) => {
      await em.insert(Note, { text: 'never' });
      holds.resolve();
      await mayEnd.promise;
    });
    const refused = endless.catch((error: unknown) => error);
    await holds.promise;
    closing = world.app.close();
    await waitFor(() => world.app.get(ContextRegistry).shutdown.hasBegun, {
      what: 'the drain to begin',
    });
    // What is no request has consumers that end later than the drain.
    expect(await world.dbContext.newSession(() => 'let in')).toBe('let in');
    patient.resolve();
    await inner;
    await closing;
    expect(await refused).toMatchObject({
      constructor: ShuttingDownError,
      code: 'SHUTTING_DOWN',
      cutOff: 'newAtomicSession()',
    });
    mayEnd.resolve();
    expect(
      await world.dbContext.newSession(() => undefined).catch((error: unknown) => error),
    ).toMatchObject({
      constructor: ShuttingDownError,
      code: 'SHUTTING_DOWN',
      refused: 'newSession()',
    });
    expect((await world.savedTexts()).toSorted()).toEqual(['inner', 'outer', 'own session']);
  });
});
