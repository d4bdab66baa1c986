import { Controller, Get, Injectable, Res, UseGuards, type CanActivate } from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { InjectSession, SessionClosedError } from 'nestjs-db-context';
import { dbContextChannels } from 'nestjs-db-context/telemetry';
import { Observable } from 'rxjs';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { holdStatement } from '../support/hold-statement.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { RawClient } from '../support/raw-client.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

/** The points at which the spec holds a handler. */
interface Stage {
  readonly reached: Deferred<void>;
  readonly mayGoOn: Deferred<void>;
  readonly clientGone: Deferred<void>;
  /** What the handler came to. */
  readonly done: Deferred<unknown>;
}

let stage: Stage;

interface Closable {
  readonly raw?: Closable;
  once(event: 'close', listener: () => void): unknown;
}

@Injectable()
class SlowGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    stage.reached.resolve();
    await stage.mayGoOn.promise;
    return true;
  }
}

@Injectable()
class RefusingGuard implements CanActivate {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async canActivate(): Promise<boolean> {
    try {
      await this.session.insert(Note, { text: 'of the guard' });
      stage.done.resolve('written');
    } catch (error) {
      stage.done.resolve(error);
    }
    return false;
  }
}

@Controller()
class DisconnectController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get('promise')
  async promise(@Res({ passthrough: true }) response: Closable): Promise<string> {
    (response.raw ?? response).once('close', () => stage.clientGone.resolve());
    return this.#work();
  }

  @Get('observable')
  observable(): Observable<string> {
    return new Observable((subscriber) => {
      this.#work().then(
        (value) => {
          subscriber.next(value);
          subscriber.complete();
        },
        (error: unknown) => subscriber.error(error),
      );
    });
  }

  @UseGuards(SlowGuard)
  @Get('after-guard')
  async afterGuard(): Promise<void> {
    try {
      await this.session.persist(new Note('after the guard')).flush();
      stage.done.resolve('done');
    } catch (error) {
      stage.done.resolve(error);
    }
  }

  @UseGuards(RefusingGuard)
  @Get('refused')
  refused(): string {
    return 'never';
  }

  @Get('twice')
  twice(): Observable<string> {
    return new Observable((subscriber) => {
      void (async () => {
        await this.session.execute('set constraints all deferred');
        this.session.persist([new Note('twice'), new Note('twice')]);
        await this.session.flush();
        subscriber.next('looks fine');
        subscriber.complete();
      })();
    });
  }

  async #work(): Promise<string> {
    try {
      await this.session.persist(new Note('first')).flush();
      stage.reached.resolve();
      await stage.mayGoOn.promise;
      await this.session.persist(new Note('second')).flush();
      stage.done.resolve('done');
      return 'done';
    } catch (error) {
      stage.done.resolve(error);
      throw error;
    }
  }
}

describe.each<AdapterName>(['express', 'fastify'])('clients that leave, over %s', (adapter) => {
  let world: TestWorld;
  let logger: LogRecorder;

  beforeEach(() => {
    stage = {
      reached: deferred(),
      mayGoOn: deferred(),
      clientGone: deferred(),
      done: deferred<unknown>(),
    };
  });

  afterEach(async () => {
    stage.mayGoOn.resolve();
    await world?.close();
  });

  const start = async (options: Parameters<typeof startWorld>[1] = {}): Promise<void> => {
    logger = new LogRecorder();
    world = await startWorld(
      {},
      {
        adapter,
        controllers: [DisconnectController],
        configure: (app) => app.useLogger(logger),
        ...options,
      },
    );
  };
  const runningCount = () => world.app.get(ContextRegistry).runningCount;
  const contextsAreGone = async (): Promise<void> => {
    await waitFor(() => runningCount() === 0, { what: 'the context to end' });
    await world.serverIsIdle();
    expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
  };
  const ends = () => world.proxy.log.filter((sql) => /^(commit|rollback)/.test(sql));
  const hold = (statement: 'commit' | 'rollback') => holdStatement(world.proxy, statement);

  it('S4: a Promise handler runs on and commits (finish)', async () => {
    await start();
    const client = await RawClient.get(`${world.url}/promise`);
    await stage.reached.promise;
    await client.leave();
    await stage.clientGone.promise;
    expect(runningCount()).toBe(1);
    stage.mayGoOn.resolve();
    expect(await stage.done.promise).toBe('done');
    await contextsAreGone();
    expect(ends()).toEqual(['commit']);
    expect(await world.savedTexts()).toEqual(['first', 'second']);
  });

  it('S4: a Promise handler is rolled back at once (rollback)', async () => {
    await start({ onDisconnect: 'rollback' });
    const client = await RawClient.get(`${world.url}/promise`);
    await stage.reached.promise;
    await client.leave();
    // The handler is still held: nobody but the disconnect can have ended it.
    await contextsAreGone();
    stage.mayGoOn.resolve();
    expect(await stage.done.promise).toBeInstanceOf(SessionClosedError);
    await contextsAreGone();
    expect(ends()).toEqual(['rollback']);
    expect(await world.savedTexts()).toEqual([]);
  });

  it('S4: it is also rolled back while a beforeCommit hook runs (rollback)', async () => {
    const inHook = deferred();
    await start({
      onDisconnect: 'rollback',
      beforeCommit: async () => {
        inHook.resolve();
        await deferred().promise;
      },
    });
    stage.mayGoOn.resolve();
    const client = await RawClient.get(`${world.url}/promise`);
    await inHook.promise;
    const rollback = hold('rollback');
    await client.leave();
    await rollback.reached;
    // The commit that was given up is over by now; the context is not, and a shutdown has to find it.
    await world.savedTexts();
    expect(runningCount()).toBe(1);
    rollback.release();
    await contextsAreGone();
    expect(ends()).toEqual(['rollback']);
    expect(await world.savedTexts()).toEqual([]);
  });

  it('S4: a client that left during the guards is noticed (rollback)', async () => {
    await start({ onDisconnect: 'rollback' });
    const client = await RawClient.get(`${world.url}/after-guard`);
    await stage.reached.promise;
    const connections = () =>
      new Promise<number>((resolve, reject) => {
        world.app
          .getHttpServer()
          .getConnections((error: Error | null, count: number) =>
            error === null ? resolve(count) : reject(error),
          );
      });
    await client.leave();
    await waitFor(async () => (await connections()) === 0, { what: 'the server to notice' });
    const ended = deferred();
    const onEnd = (): void => ended.resolve();
    dbContextChannels.contextEnd.subscribe(onEnd);
    let isStarted = false;
    void stage.done.promise.then(() => {
      isStarted = true;
    });
    stage.mayGoOn.resolve();
    await ended.promise;
    dbContextChannels.contextEnd.unsubscribe(onEnd);
    expect(isStarted).toBe(false);
    expect(world.proxy.log).toEqual([]);
  });

  it.each(['finish', 'rollback'] as const)(
    'S4: an Observable handler is rolled back as it is torn down (%s)',
    async (onDisconnect) => {
      await start({ onDisconnect });
      const client = await RawClient.get(`${world.url}/observable`);
      await stage.reached.promise;
      await client.leave();
      await contextsAreGone();
      stage.mayGoOn.resolve();
      expect(await stage.done.promise).toBeInstanceOf(SessionClosedError);
      await contextsAreGone();
      expect(ends()).toEqual(['rollback']);
      expect(await world.savedTexts()).toEqual([]);
    },
  );

  it.each([
    ['promise', 'finish'],
    ['promise', 'rollback'],
    ['observable', 'finish'],
    ['observable', 'rollback'],
  ] as const)(
    'S4: leaving while COMMIT is under way changes nothing (/%s, %s)',
    async (path, onDisconnect) => {
      await start({ onDisconnect });
      const commit = hold('commit');
      stage.mayGoOn.resolve();
      const client = await RawClient.get(`${world.url}/${path}`);
      await commit.reached;
      await client.leave();
      if (path === 'promise') {
        await stage.clientGone.promise;
      }
      expect(runningCount()).toBe(1);
      commit.release();
      await contextsAreGone();
      expect(ends()).toEqual(['commit']);
      expect(await world.savedTexts()).toEqual(['first', 'second']);
    },
  );

  it('S4: a COMMIT that fails after the client left is reported', async () => {
    await start();
    const commit = hold('commit');
    const client = await RawClient.get(`${world.url}/twice`);
    await commit.reached;
    await client.leave();
    commit.release();
    await contextsAreGone();
    await waitFor(() => logger.ofLibrary('error').length > 0, { what: 'the report' });
    expect(logger.ofLibrary('error')).toEqual([
      expect.stringMatching(/DisconnectController\.twice .*note_text_unique/),
    ]);
    expect(await world.savedTexts()).toEqual([]);
  });

  it(`S4: a client that left before the context was opened ends it (mount: 'middleware')`, async () => {
    await start({
      mount: 'middleware',
      configure: (app) =>
        app.use(async (_request: unknown, response: Closable, next: () => void) => {
          response.once('close', () => stage.clientGone.resolve());
          stage.reached.resolve();
          await stage.mayGoOn.promise;
          next();
        }),
    });
    const client = await RawClient.get(`${world.url}/refused`);
    await stage.reached.promise;
    await client.leave();
    await stage.clientGone.promise;
    stage.mayGoOn.resolve();
    expect(await stage.done.promise).toBeInstanceOf(SessionClosedError);
    await contextsAreGone();
    expect(await world.savedTexts()).toEqual([]);
  });
});
