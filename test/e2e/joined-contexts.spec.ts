import type { AddressInfo, Server } from 'node:net';

import type { EntityManager } from '@mikro-orm/postgresql';
import {
  Controller,
  Injectable,
  Param,
  Post,
  Sse,
  UseInterceptors,
  type CallHandler,
  type ExceptionFilter,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import {
  ClientProxyFactory,
  MessagePattern,
  Transport,
  type ClientProxy,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import {
  DbContext,
  DbContextInterceptor,
  InjectSession,
  WithDbContext,
  type DbContextError,
} from 'nestjs-db-context';
import { from, lastValueFrom, mergeMap, Observable, of, tap } from 'rxjs';

import { deferred, type Deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { fail } from '../support/use-world.js';

/** What the handler has reached, and what it waits for before it returns. */
let hasWorked: Deferred<void>;
let mayReturn: Deferred<void>;
/** What the answer was, where that is an error. */
let answered: Deferred<DbContextError>;

const PASS: NestInterceptor = { intercept: (_context, next) => next.handle() };

@Controller()
class JoiningController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Post('insert')
  async insert(): Promise<string> {
    await this.session.insert(Note, { text: 'x' });
    await mayReturn.promise;
    return 'ok';
  }

  @UseInterceptors(PASS)
  @Post('intercepted')
  intercepted(): Promise<string> {
    return this.insert();
  }

  @Post('observable')
  observable(): Observable<string> {
    return from(this.insert());
  }

  @Post('intercepted-observable')
  @UseInterceptors(PASS)
  interceptedObservable(): Observable<string> {
    return of(1, 2).pipe(mergeMap(async (n) => (n === 1 ? 'first' : this.insert())));
  }

  @Sse('events')
  events(): Observable<{ data: string }> {
    return of(1, 2).pipe(
      mergeMap(async (n) => ({ data: n === 1 ? 'first' : await this.insert() })),
    );
  }

  @Post('inserted')
  async inserted(): Promise<string> {
    await this.session.insert(Note, { text: 'x' });
    hasWorked.resolve();
    await mayReturn.promise;
    return 'ok';
  }

  @Post('persist')
  async persist(): Promise<string> {
    this.session.create(Note, { text: 'x' });
    hasWorked.resolve();
    await mayReturn.promise;
    return 'ok';
  }

  @Post('nothing')
  async nothing(): Promise<string> {
    hasWorked.resolve();
    await mayReturn.promise;
    return 'ok';
  }

  @Post('swallowed')
  async swallowed(): Promise<string> {
    await this.session.count(Note);
    hasWorked.resolve();
    await mayReturn.promise;
    await this.session.insert(Note, { text: 'x' }).catch(() => undefined);
    return 'ok';
  }

  @Post('unheard')
  async unheard(): Promise<string> {
    hasWorked.resolve();
    await mayReturn.promise;
    await this.session.insert(Note, { text: 'x' }).catch(() => undefined);
    return 'ok';
  }

  /** Does its work a number of turns of the microtask queue after the handler has begun. */
  @Post('turns/:way/:turns')
  async turns(@Param('way') way: string, @Param('turns') turns: string): Promise<string> {
    for (let i = 0; i < Number(turns); i++) {
      await Promise.resolve();
    }
    if (way === 'persist') {
      this.session.create(Note, { text: 'x' });
    } else {
      const work = this.session.insert(Note, { text: 'x' });
      await (way === 'insert' ? work : work.catch(() => undefined));
    }
    return 'ok';
  }

  @Post('changed')
  async changed(): Promise<string> {
    const note = this.session.create(Note, { text: 'x' });
    await this.session.flush();
    hasWorked.resolve();
    await mayReturn.promise;
    note.text = 'y';
    return 'ok';
  }

  @Post('late')
  async late(): Promise<string> {
    hasWorked.resolve();
    await mayReturn.promise;
    await this.session.insert(Note, { text: 'x' });
    return 'ok';
  }
}

/** Opens a context around each request of HTTP, as `around` does. */
type Around = (dbContext: DbContext, next: () => void) => void;
let around: Around;
/** How the context around the request has ended. */
let ended: Promise<unknown>;

const REFUSAL = {
  name: 'UnexpectedRollbackError',
  code: 'UNEXPECTED_ROLLBACK',
  reason: 'joined-context-ended',
  connectionName: 'default',
};
const HOW_TO_FIX =
  'let what opens that context wait for it, as dbContext.run(() => new Promise(...)) around a request until its ' +
  "response is closed, or use mount: 'middleware' instead";

describe.each(['express', 'fastify'] as const)(
  'a request that joins the context of dbContext.run(), over %s',
  (adapter) => {
    let world: TestWorld;

    beforeAll(async () => {
      world = await startWorld(
        {},
        {
          adapter,
          controllers: [JoiningController],
          configure: (app) => {
            const filter: ExceptionFilter = {
              catch: (error: DbContextError, host) => {
                answered.resolve(error);
                const { httpAdapter } = app.get(HttpAdapterHost);
                httpAdapter.reply(host.switchToHttp().getResponse(), 'failed', 500);
              },
            };
            app.useGlobalFilters(filter);
            app.use((_request: unknown, _response: unknown, next: () => void) =>
              around(app.get(DbContext), next),
            );
          },
        },
      );
    });
    afterAll(() => world.close());
    beforeEach(async () => {
      hasWorked = deferred();
      mayReturn = deferred();
      answered = deferred();
      world.proxy.onStatement = undefined;
      await world.database.query('truncate note restart identity');
    });
    afterEach(async () => {
      mayReturn.resolve();
      await world.serverIsIdle();
      expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
    });

    const endsWith = (work: (next: () => void, dbContext: DbContext) => unknown): void => {
      around = (dbContext, next) => {
        ended = dbContext
          .run(async () => work(next, dbContext))
          .then(
            () => undefined,
            (error: unknown) => error,
          );
      };
    };
    const post = async (path: string): Promise<readonly [number, string]> => {
      const response = await world.fetch(path, { method: 'POST' });
      return [response.status, await response.text()];
    };
    /** A context that ends with a statement of the handler under way. */
    const endsUnderWay = (): void => {
      world.proxy.onStatement = (sql) => {
        if (sql.includes('insert into')) {
          hasWorked.resolve();
        }
      };
      endsWith(async (next) => {
        next();
        await hasWorked.promise;
      });
    };

    it.each([
      ['insert', 'JoiningController.insert'],
      ['intercepted', 'JoiningController.intercepted'],
      ['observable', 'JoiningController.observable'],
      ['intercepted-observable', 'JoiningController.interceptedObservable'],
    ])(
      'F4: no success where its work was rolled back with the context (%s)',
      async (path, name) => {
        endsUnderWay();
        mayReturn.resolve();
        expect(await post(`/${path}`)).toEqual([500, 'failed']);
        const error = await answered.promise;
        expect(error).toMatchObject({ ...REFUSAL, origin: name });
        expect(error.cause).toBe(await ended);
        expect(error.message).toBe(
          `The transaction on connection "default" in the context of ${name} was rolled back instead of ` +
            `committed: it had joined a context that was ended before it was done; ${HOW_TO_FIX} (The ` +
            `transaction on connection "default" in the context of dbContext.run() (joined by ${name}) was ` +
            'rolled back instead of committed: statements were still running or waiting when it was to be ' +
            'committed; await all of them.).\nSee nestjs-db-context/docs/errors.md#unexpected_rollback',
        );
        expect(await ended).toMatchObject({
          code: 'UNEXPECTED_ROLLBACK',
          reason: 'unawaited-statements',
          origin: `dbContext.run() (joined by ${name})`,
        });
        expect(await world.savedTexts()).toEqual([]);
      },
    );

    it.each(['persist', 'insert', 'swallow'])(
      'F4: a success is saved, however far it was as next() had returned (%s)',
      async (way) => {
        endsWith((next) => next());
        for (const turns of [0, 1, 2, 3, 5, 8, 12, 20, 40, 80]) {
          await world.database.query('truncate note');
          const [status] = await post(`/turns/${way}/${turns}`);
          await ended;
          const isSaved = (await world.savedTexts()).length === 1;
          expect({ turns, status }).toEqual({ turns, status: isSaved ? 201 : 500 });
        }
      },
    );

    it('F4: a stream of events ends with an error where its work was rolled back with the context', async () => {
      endsUnderWay();
      mayReturn.resolve();
      const events = await (await world.fetch('/events')).text();
      expect(events).toContain('data: first');
      expect(events).toContain('event: error');
      expect(await ended).toMatchObject({ reason: 'unawaited-statements' });
      expect(await world.savedTexts()).toEqual([]);
    });

    it('F4: nor where what opened the context has rolled it back', async () => {
      endsWith(async (next) => {
        next();
        await hasWorked.promise;
        fail();
      });
      const answer = post('/inserted');
      await hasWorked.promise;
      await ended;
      mayReturn.resolve();
      expect(await answer).toEqual([500, 'failed']);
      expect(await answered.promise).toMatchObject({
        ...REFUSAL,
        origin: 'JoiningController.inserted',
        cause: { code: 'UNEXPECTED_ROLLBACK', reason: 'context-ended' },
      });
      expect(await world.savedTexts()).toEqual([]);
    });

    it('S1: the answer waits for a commit that has begun', async () => {
      const mayCommit = deferred();
      const isCommitting = deferred();
      endsWith(async (next, dbContext) => {
        next();
        await hasWorked.promise;
        dbContext.beforeCommit(async () => {
          isCommitting.resolve();
          await mayCommit.promise;
        });
      });
      let isAnswered = false;
      const answer = post('/persist').finally(() => (isAnswered = true));
      await isCommitting.promise;
      mayReturn.resolve();
      await world.fetch('/nowhere');
      expect(isAnswered).toBe(false);
      mayCommit.resolve();
      expect(await answer).toEqual([201, 'ok']);
      expect(await world.savedTexts()).toEqual(['x']);
    });

    it('S1: what refuses that commit is its answer', async () => {
      const isCommitting = deferred();
      const veto = new Error('veto');
      endsWith(async (next, dbContext) => {
        next();
        await hasWorked.promise;
        dbContext.beforeCommit(async () => {
          isCommitting.resolve();
          await mayReturn.promise;
          throw veto;
        });
      });
      const answer = post('/persist');
      await isCommitting.promise;
      mayReturn.resolve();
      expect(await answer).toEqual([500, 'failed']);
      expect(await answered.promise).toBe(veto);
      expect(await world.savedTexts()).toEqual([]);
    });

    it('S8: a context that was committed before has saved what it did', async () => {
      endsWith(async (next) => {
        next();
        await hasWorked.promise;
      });
      const answer = post('/inserted');
      await hasWorked.promise;
      expect(await ended).toBeUndefined();
      mayReturn.resolve();
      expect(await answer).toEqual([201, 'ok']);
      expect(await world.savedTexts()).toEqual(['x']);
    });

    it('S5: what comes after such an end is refused, with a message that names the route', async () => {
      endsWith(async (next) => {
        next();
        await hasWorked.promise;
      });
      const answer = post('/late');
      await hasWorked.promise;
      expect(await ended).toBeUndefined();
      mayReturn.resolve();
      expect(await answer).toEqual([500, 'failed']);
      expect(await answered.promise).toMatchObject({
        code: 'SESSION_CLOSED',
        origin: 'dbContext.run() (joined by JoiningController.late)',
      });
      expect(await world.savedTexts()).toEqual([]);
    });

    it.each([
      [
        'swallowed',
        'this statement was not sent. Await everything that uses the session before the handler returns, or give ' +
          'work that must outlive it a context of its own. An entity that was loaded in an earlier context ' +
          'belongs to the session of that one: load it again instead.',
        [],
      ],
      [
        'changed',
        'what was changed since is not saved (Note). Await everything that uses the session before the handler ' +
          'returns, or give work that must outlive it a context of its own. An entity that was loaded in an ' +
          'earlier context belongs to the session of that one: load it again instead.',
        ['x'],
      ],
    ])(
      'F4: what comes after such an end is no success either where nobody heard of it (%s)',
      async (path, fate, saved) => {
        endsWith(async (next) => {
          next();
          await hasWorked.promise;
        });
        const answer = post(`/${path}`);
        await hasWorked.promise;
        expect(await ended).toBeUndefined();
        mayReturn.resolve();
        expect(await answer).toEqual([500, 'failed']);
        const error = await answered.promise;
        expect(error).toMatchObject({ code: 'SESSION_CLOSED', connectionName: 'default' });
        expect(error.message).toBe(
          'The session of connection "default" in the context of dbContext.run() (joined by ' +
            `JoiningController.${path}) is closed: its transaction has ended, and ${fate}\n` +
            'See nestjs-db-context/docs/errors.md#session_closed',
        );
        expect(await world.savedTexts()).toEqual(saved);
      },
    );

    it('F4: nor where nothing had been done before what opened the context failed', async () => {
      endsWith(async (next) => {
        next();
        await hasWorked.promise;
        fail();
      });
      const answer = post('/unheard');
      await hasWorked.promise;
      await ended;
      mayReturn.resolve();
      expect(await answer).toEqual([500, 'failed']);
      expect(await answered.promise).toMatchObject({
        code: 'SESSION_CLOSED',
        connectionName: 'default',
        origin: 'dbContext.run()',
      });
      expect(await world.savedTexts()).toEqual([]);
    });

    it('S8: a request that uses no session succeeds, whatever has become of the context', async () => {
      endsWith((next) => {
        next();
        fail();
      });
      mayReturn.resolve();
      expect(await post('/nothing')).toEqual([201, 'ok']);
    });

    it('S8: a context that is still open is settled by what has opened it', async () => {
      const mayEnd = deferred();
      endsWith(async (next) => {
        next();
        await mayEnd.promise;
      });
      mayReturn.resolve();
      expect(await post('/insert')).toEqual([201, 'ok']);
      expect(await world.savedTexts()).toEqual([]);
      mayEnd.resolve();
      expect(await ended).toBeUndefined();
      expect(await world.savedTexts()).toEqual(['x']);
    });
  },
);

@Injectable()
class JoiningJob {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @WithDbContext()
  async work(): Promise<string> {
    await this.session.insert(Note, { text: 'x' });
    hasWorked.resolve();
    await mayReturn.promise;
    return 'done';
  }
}

describe('a job that joins the context of other code', () => {
  let world: TestWorld;

  beforeAll(async () => {
    world = await startWorld({}, { providers: [JoiningJob] });
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    hasWorked = deferred();
    mayReturn = deferred();
    await world.database.query('truncate note restart identity');
  });

  /** Lets the job join a context that ends before it. */
  const endsBeforeJob = async (end: () => void): Promise<{ readonly job: Promise<string> }> => {
    let job: Promise<string> | undefined;
    await world.dbContext
      .run(async () => {
        job = world.app.get(JoiningJob).work();
        await hasWorked.promise;
        end();
      })
      .catch(() => undefined);
    return { job: job! };
  };

  it('F4: fails where its work was rolled back with the context', async () => {
    const { job } = await endsBeforeJob(fail);
    mayReturn.resolve();
    await expect(job).rejects.toMatchObject({ ...REFUSAL, origin: 'JoiningJob.work' });
    expect(await world.savedTexts()).toEqual([]);
  });

  it('S8: succeeds where its work was committed with the context', async () => {
    const { job } = await endsBeforeJob(() => undefined);
    mayReturn.resolve();
    expect(await job).toBe('done');
    expect(await world.savedTexts()).toEqual(['x']);
  });

  it('S8: is no obstacle where a hook of the commit waits for it', async () => {
    await world.dbContext.run(async () => {
      const job = world.app.get(JoiningJob).work();
      world.dbContext.beforeCommit(async () => {
        mayReturn.resolve();
        await job;
      });
      await hasWorked.promise;
    });
    expect(await world.savedTexts()).toEqual(['x']);
  });
});

/** Opens a context around a message that ends as the handler has begun to work. */
@Injectable()
class EarlyEndingInterceptor implements NestInterceptor {
  constructor(private readonly dbContext: DbContext) {}

  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return new Observable((subscriber) => {
      ended = this.dbContext
        .run(async () => {
          next.handle().subscribe(subscriber);
          await hasWorked.promise;
        })
        .catch((error: unknown) => error);
    });
  }
}

@UseInterceptors(EarlyEndingInterceptor, DbContextInterceptor)
@Controller()
class MessageController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @MessagePattern('insert')
  async insert(): Promise<string> {
    await this.session.insert(Note, { text: 'x' });
    return 'ok';
  }

  @MessagePattern('stream')
  stream(): Observable<string> {
    return from(['first', 'last']).pipe(
      mergeMap(async (value) => (value === 'first' ? value : this.insert())),
    );
  }
}

describe('a message that joins the context of other code', () => {
  let world: TestWorld;
  let client: ClientProxy;

  beforeAll(async () => {
    const options = { host: '127.0.0.1', port: 0 };
    world = await startWorld(
      {},
      {
        mount: 'none',
        controllers: [MessageController],
        providers: [EarlyEndingInterceptor],
        configure: (app) =>
          app.connectMicroservice<MicroserviceOptions>({ transport: Transport.TCP, options }),
      },
    );
    const [microservice] = await world.app
      .startAllMicroservices()
      .then((app) => app.getMicroservices());
    const { port } = microservice!.unwrap<Server>().address() as AddressInfo;
    client = ClientProxyFactory.create({ transport: Transport.TCP, options: { ...options, port } });
  });
  afterAll(async () => {
    client.close();
    await world.close();
  });
  beforeEach(() => {
    hasWorked = deferred();
    world.proxy.onStatement = (sql) => {
      if (sql.includes('insert into')) {
        hasWorked.resolve();
      }
    };
  });

  it.each([
    ['insert', []],
    ['stream', ['first']],
  ])(
    'F4: is answered with an error where its work was rolled back (%s)',
    async (pattern, before) => {
      const values: unknown[] = [];
      const answer = lastValueFrom(
        client.send(pattern, {}).pipe(tap((value) => values.push(value))),
      );
      await expect(answer).rejects.toMatchObject({ status: 'error' });
      expect(values).toEqual(before);
      expect(await ended).toMatchObject({
        reason: 'unawaited-statements',
        origin: `dbContext.run() (joined by MessageController.${pattern})`,
      });
      expect(await world.savedTexts()).toEqual([]);
    },
  );
});
