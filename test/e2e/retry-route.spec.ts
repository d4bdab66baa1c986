import type { EntityManager } from '@mikro-orm/postgresql';
import {
  ConflictException,
  Controller,
  Get,
  HttpException,
  Injectable,
  Post,
  Query,
  Res,
  Sse,
  UseGuards,
  UseInterceptors,
  type ArgumentsHost,
  type CanActivate,
  type MessageEvent,
} from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import {
  CommitOn,
  DbContext,
  DbContextInterceptor,
  DbTransaction,
  InjectSession,
  RetryOnSerializationFailure,
  UnexpectedRollbackError,
} from 'nestjs-db-context';
import { Observable } from 'rxjs';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { RawClient } from '../support/raw-client.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

// The pause between two attempts is drawn; some specs need the longest one.
const { random } = Math;

/** What the attempts of a request left for the spec. */
interface Attempt {
  readonly session: unknown;
  readonly xid: string;
  readonly isolation: string;
}

let attempts: Attempt[];
let events: string[];
let errors: unknown[];
let failures: number;
let reached: Deferred<void>;
let mayGoOn: Deferred<void>;
let bothReached: (() => Promise<void>) | undefined;

interface RawResponse {
  writeHead(status: number): unknown;
  write(body: string): unknown;
}

@Injectable()
class ReadingGuard implements CanActivate {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async canActivate(): Promise<boolean> {
    return (await this.session.count(Note)) >= 0;
  }
}

@Injectable()
class HookingGuard implements CanActivate {
  constructor(private readonly dbContext: DbContext) {}

  canActivate(): boolean {
    this.dbContext.onCommit(() => events.push('hook of the guard'));
    return true;
  }
}

@Injectable()
class IdleGuard implements CanActivate {
  canActivate(): boolean {
    events.push('guard');
    return true;
  }
}

@RetryOnSerializationFailure({ attempts: 3, backoffMs: 1 })
@Controller()
class RetryController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @DbTransaction({ isolationLevel: 'serializable' })
  @Get('fail')
  async fail(@Query('code') code: string): Promise<number> {
    await this.attempt('fail');
    await this.meet(code);
    return attempts.length;
  }

  @RetryOnSerializationFailure({ attempts: 2, backoffMs: 0 })
  @Get('twice')
  async twice(): Promise<void> {
    await this.attempt('twice');
    await this.meet('40001');
  }

  @Get('at-commit')
  async atCommit(): Promise<number> {
    await this.attempt('fails at commit');
    return attempts.length;
  }

  @Get('swallowed')
  async swallowed(): Promise<number> {
    await this.attempt('swallowed');
    await this.meet('40P01').catch(() => undefined);
    return attempts.length;
  }

  @Get('wrapped')
  async wrapped(): Promise<number> {
    await this.attempt('wrapped');
    await this.meet('40001').catch((cause: unknown) => {
      throw new ConflictException('met another one', { cause });
    });
    return attempts.length;
  }

  @Get('exception')
  async exception(): Promise<void> {
    await this.attempt('exception');
    throw new ConflictException();
  }

  @RetryOnSerializationFailure({ attempts: 4, backoffMs: 1 })
  @Post('deadlock')
  async deadlock(@Query('ids') ids: string): Promise<void> {
    await this.attempt(`deadlock ${ids}`);
    const [first, second] = ids.split(',');
    await this.lock(Number(first));
    await bothReached?.();
    await this.lock(Number(second));
  }

  @RetryOnSerializationFailure({ attempts: 2, backoffMs: 600_000 })
  @Get('sent')
  async sent(@Res() response: RawResponse & { readonly raw?: RawResponse }): Promise<void> {
    await this.attempt('sent');
    const raw = response.raw ?? response;
    raw.writeHead(200);
    raw.write('part of it');
    await this.meet('40001');
  }

  @Sse('events')
  events(@Query('first') first?: string): Observable<MessageEvent> {
    return new Observable((subscriber) => {
      if (first !== undefined) {
        subscriber.next({ data: first });
      }
      this.attempt('events')
        .then(() => this.meet('40001'))
        .then(
          () => {
            subscriber.next({ data: `attempt ${attempts.length}` });
            subscriber.complete();
          },
          (error: unknown) => subscriber.error(error),
        );
    });
  }

  @Get('observable')
  observable(): Observable<string> {
    return new Observable((subscriber) => {
      this.attempt('observable')
        .then(() => this.meet('40001'))
        .then(
          () => {
            subscriber.next(`attempt ${attempts.length}`);
            subscriber.complete();
          },
          (error: unknown) => subscriber.error(error),
        );
    });
  }

  @Get('several-values')
  severalValues(): Observable<string> {
    return new Observable((subscriber) => {
      subscriber.next('first');
      subscriber.next('second');
      this.attempt('several')
        .then(() => this.meet('40001'))
        .then(
          () => subscriber.complete(),
          (error: unknown) => subscriber.error(error),
        );
    });
  }

  @RetryOnSerializationFailure({ attempts: 2, backoffMs: 1_000 })
  @Get('slow-pause')
  async slowPause(): Promise<number> {
    await this.attempt('slow pause');
    reached.resolve();
    await mayGoOn.promise;
    await this.meet('40001');
    return attempts.length;
  }

  @RetryOnSerializationFailure({ attempts: 2, backoffMs: 600_000 })
  @Get('endless-pause')
  endlessPause(): Observable<string> {
    return this.observable();
  }

  @UseInterceptors(DbContextInterceptor)
  @Get('joined')
  async joined(): Promise<void> {
    await this.attempt('joined');
    await this.meet('40001');
  }

  @Get('committed-early')
  async committedEarly(): Promise<void> {
    await this.attempt('committed early');
    await this.dbContext.commit();
    await this.meet('40001');
  }

  @CommitOn(() => true)
  @Get('committed-despite')
  async committedDespite(): Promise<void> {
    await this.attempt('committed despite');
    await this.dbContext.runInNewContext(() => this.meet('40001'));
  }

  @UseGuards(ReadingGuard)
  @Get('after-reading-guard')
  async afterReadingGuard(): Promise<void> {
    await this.session.execute('select 1');
    attempts.push({} as Attempt);
    await this.meet('40001');
  }

  @UseGuards(HookingGuard)
  @Get('after-hooking-guard')
  async afterHookingGuard(): Promise<void> {
    await this.attempt('after a hook');
    await this.meet('40001');
  }

  @UseGuards(IdleGuard)
  @Get('after-idle-guard')
  async afterIdleGuard(): Promise<number> {
    await this.attempt('after a guard');
    await this.meet('40001');
    return attempts.length;
  }

  /** Notes what an attempt sees, and writes. */
  protected async attempt(text: string): Promise<void> {
    this.dbContext.onCommit(() => events.push('committed'));
    this.dbContext.onRollback(() => events.push('rolled back'));
    const [row] = await this.session.execute<{ xid: string; isolation: string }[]>(
      `select pg_current_xact_id()::text as xid,
              current_setting('transaction_isolation') as isolation`,
    );
    attempts.push({ session: this.dbContext.getSession(), ...row! });
    await this.session.insert(Note, { text: `${text}, attempt ${attempts.length}` });
  }

  /** What the server says when a transaction met another one, for the first `failures` times. */
  protected async meet(code: string): Promise<void> {
    if (failures-- > 0) {
      await this.session.execute(
        `do $$ begin raise exception 'met in attempt ${attempts.length}' using errcode = '${code}'; end $$`,
      );
    }
  }

  protected async lock(id: number): Promise<void> {
    await this.session.execute('update counter set value = value + 1 where id = ?', [id]);
  }
}

@DbTransaction({ isolationLevel: 'serializable' })
@Controller()
class CounterController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @RetryOnSerializationFailure({ attempts: 200, backoffMs: 5 })
  @Post('increment')
  async increment(): Promise<void> {
    await this.#increment();
  }

  @Post('increment-once')
  async incrementOnce(): Promise<void> {
    await this.#increment();
  }

  async #increment(): Promise<void> {
    const [row] = await this.session.execute<{ value: number }[]>(
      'select value from counter where id = 1',
    );
    await this.session.execute('update counter set value = ? where id = 1', [row!.value + 1]);
  }
}

/** Inherits the routes, and not what is said of them. */
@RetryOnSerializationFailure({ attempts: 2, backoffMs: 0 })
@Controller('heir')
class HeirController extends RetryController {}

class SeeingFilter extends BaseExceptionFilter {
  override catch(error: unknown, host: ArgumentsHost): void {
    errors.push(error);
    // oxlint-disable-next-line promise/valid-params, promise/no-promise-in-callback -- of a filter
    super.catch(error, host);
  }
}

// The first `failures` commits of a note with this text fail, by a sequence that no rollback resets.
const SCHEMA = `
  create table counter (id int primary key, value int not null);
  insert into counter values (1, 0), (2, 0);
  create sequence commits;
  create function fail_at_commit() returns trigger language plpgsql as $$
  begin
    if nextval('commits') < 3 then
      raise exception 'pivot' using errcode = '40001';
    end if;
    return null;
  end $$;
  create constraint trigger fails_at_commit after insert on note
    deferrable initially deferred for each row when (new.text like 'fails at commit%')
    execute function fail_at_commit();
`;

describe.each<AdapterName>(['express', 'fastify'])(
  '@RetryOnSerializationFailure over %s',
  (adapter) => {
    let world: TestWorld;
    let logger: LogRecorder;

    const start = async (options: Parameters<typeof startWorld>[1] = {}): Promise<void> => {
      logger = new LogRecorder();
      world = await startWorld(
        { acquireTimeoutMs: 15_000 },
        {
          adapter,
          controllers: [RetryController, CounterController, HeirController],
          configure: (app) => {
            app.useLogger(logger);
            app.useGlobalFilters(new SeeingFilter(app.getHttpAdapter()));
          },
          ...options,
        },
      );
      await world.database.query(SCHEMA);
    };
    const contextsAreGone = async (): Promise<void> => {
      const registry = world.app.get(ContextRegistry);
      await waitFor(() => registry.runningCount === 0, { what: 'the contexts to end' });
      await world.serverIsIdle();
      expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
    };
    const counters = async (): Promise<number[]> =>
      (await world.database.query<{ value: number }>('select value from counter order by id')).map(
        ({ value }) => value,
      );
    const ends = (): string[] => world.proxy.log.filter((sql) => /^(commit|rollback)/.test(sql));
    // Only then: the statement that ends it is seen before the pause begins.
    const firstAttemptIsOver = (): Promise<void> =>
      waitFor(() => events.length === 1, { what: 'the first attempt to end' });
    const post = (path: string): Promise<Response> => world.fetch(path, { method: 'POST' });
    const get = async (path: string): Promise<[status: number, body: string]> => {
      const response = await world.fetch(path);
      return [response.status, await response.text()];
    };

    beforeEach(() => {
      attempts = [];
      events = [];
      errors = [];
      failures = 2;
      reached = deferred();
      mayGoOn = deferred();
      bothReached = undefined;
    });

    afterEach(async () => {
      Math.random = random;
      mayGoOn.resolve();
      await world?.close();
    });

    it('C7: 30 concurrent serialisable increments end at 30, and all succeed', async () => {
      await start();
      const statuses = await Promise.all(
        Array.from({ length: 30 }, async () => (await post('/increment')).status),
      );
      expect(new Set(statuses)).toEqual(new Set([201]));
      expect(await counters()).toEqual([30, 0]);
      await contextsAreGone();
    });
    it('C7: without it some of them fail', async () => {
      await start();
      const statuses = await Promise.all(
        Array.from({ length: 30 }, async () => (await post('/increment-once')).status),
      );
      expect(statuses).toContain(500);
      const succeeded = statuses.filter((status) => status === 201).length;
      expect(await counters()).toEqual([succeeded, 0]);
      await contextsAreGone();
    });

    it.each(['40001', '40P01'])(
      'C7: %s in a statement: each attempt is a new context',
      async (code) => {
        await start();
        expect(await get(`/fail?code=${code}`)).toEqual([200, '3']);
        expect(await world.savedTexts()).toEqual(['fail, attempt 3']);
        expect(new Set(attempts.map(({ session }) => session)).size).toBe(3);
        expect(new Set(attempts.map(({ xid }) => xid)).size).toBe(3);
        expect(attempts.map(({ isolation }) => isolation)).toEqual(Array(3).fill('serializable'));
        expect(events).toEqual(['rolled back', 'rolled back', 'committed']);
        expect(ends()).toEqual(['rollback', 'rollback', 'commit']);
        await contextsAreGone();
      },
    );

    it('C7: a failure of the COMMIT', async () => {
      await start();
      expect(await get('/at-commit')).toEqual([200, '3']);
      expect(await world.savedTexts()).toEqual(['fails at commit, attempt 3']);
      expect(events).toEqual(['rolled back', 'rolled back', 'committed']);
      await contextsAreGone();
    });

    it('C7: a failure that was swallowed, and a COMMIT that was refused for it', async () => {
      await start();
      expect(await get('/swallowed')).toEqual([200, '3']);
      expect(await world.savedTexts()).toEqual(['swallowed, attempt 3']);
      failures = 10;
      expect((await get('/swallowed'))[0]).toBe(500);
      expect(errors).toEqual([expect.any(UnexpectedRollbackError)]);
      expect(errors[0]).toMatchObject({ cause: { code: '40P01' } });
      await contextsAreGone();
    });

    it('C7: a failure that is the cause of what was thrown', async () => {
      await start();
      expect(await get('/wrapped')).toEqual([200, '3']);
      await contextsAreGone();
    });

    it('C7: two requests that deadlock both succeed', async () => {
      await start();
      let waiting = 0;
      const both = deferred();
      bothReached = () => {
        if (++waiting === 2) {
          both.resolve();
        }
        return both.promise;
      };
      const answers = await Promise.all([post('/deadlock?ids=1,2'), post('/deadlock?ids=2,1')]);
      expect(answers.map(({ status }) => status)).toEqual([201, 201]);
      expect(attempts).toHaveLength(3);
      expect(await counters()).toEqual([2, 2]);
      await contextsAreGone();
    });

    it.each(['/fail?code=22012', '/exception'])('C7: %s is not run again', async (path) => {
      await start();
      await get(path);
      expect(attempts).toHaveLength(1);
      expect(errors).toHaveLength(1);
      await contextsAreGone();
    });

    it('C7: the error of the last attempt is the response; a method wins over its class', async () => {
      await start();
      failures = 100;
      expect((await get('/fail?code=40001'))[0]).toBe(500);
      expect(attempts).toHaveLength(3);
      expect((await get('/twice'))[0]).toBe(500);
      expect(attempts).toHaveLength(5);
      expect(errors.map((error) => (error as Error).message)).toEqual([
        expect.stringContaining('met in attempt 3'),
        expect.stringContaining('met in attempt 5'),
      ]);
      expect(await world.savedTexts()).toEqual([]);
      await contextsAreGone();
    });

    it('C7: an heir of a controller has its own settings', async () => {
      await start();
      failures = 100;
      await get('/fail?code=40001');
      expect(attempts).toHaveLength(3);
      await get('/heir/fail?code=40001');
      expect(attempts).toHaveLength(5);
      await contextsAreGone();
    });

    it('C7: only what opened the context runs again, not what joined it', async () => {
      await start();
      failures = 100;
      expect((await get('/joined'))[0]).toBe(500);
      expect(attempts).toHaveLength(3);
      await contextsAreGone();
    });

    it('C7: not after the headers were sent', async () => {
      await start();
      Math.random = () => 1;
      await world.fetch('/sent').then(
        (response) => response.text(),
        () => undefined,
      );
      expect(attempts).toHaveLength(1);
      expect(errors).toHaveLength(1);
      await contextsAreGone();
    });

    it.each(['/events', '/events?first=hello'])(
      'C7: not for server-sent events (%s)',
      async (path) => {
        await start();
        const [, body] = await get(path);
        expect(body.includes('hello')).toBe(path.includes('hello'));
        expect(body).toContain('event: error');
        expect(attempts).toHaveLength(1);
        await contextsAreGone();
        expect(await world.savedTexts()).toEqual([]);
      },
    );

    it('C7: an Observable handler, until a value has gone on', async () => {
      await start();
      expect(await get('/observable')).toEqual([200, 'attempt 3']);
      expect(await world.savedTexts()).toEqual(['observable, attempt 3']);
      failures = 1;
      expect((await get('/several-values'))[0]).toBe(500);
      expect(attempts).toHaveLength(4);
      await contextsAreGone();
    });

    it('C7: not after a part was committed early, and a warning says so once', async () => {
      await start();
      for (const _ of [1, 2]) {
        failures = 1;
        expect((await get('/committed-early'))[0]).toBe(500);
      }
      expect(attempts).toHaveLength(2);
      expect(logger.ofLibrary('warn')).toEqual([
        expect.stringMatching(/^RetryController\.committedEarly .*committed before its end/),
      ]);
      await contextsAreGone();
    });

    it('C7: not after a policy has committed despite the error', async () => {
      await start();
      expect((await get('/committed-despite'))[0]).toBe(500);
      expect(attempts).toHaveLength(1);
      expect(await world.savedTexts()).toEqual(['committed despite, attempt 1']);
      await contextsAreGone();
    });

    describe('with mount: middleware', () => {
      it('C7: runs again where nothing was done before the handler', async () => {
        await start({ mount: 'middleware' });
        expect(await get('/after-idle-guard')).toEqual([200, '3']);
        expect(events).toEqual(['guard', 'rolled back', 'rolled back', 'committed']);
        expect(await world.savedTexts()).toEqual(['after a guard, attempt 3']);
        expect(logger.ofLibrary('warn')).toEqual([]);
        await contextsAreGone();
      });

      it.each(['reading', 'hooking'])(
        'C7: does not after a %s guard, and a warning says so once',
        async (kind) => {
          await start({ mount: 'middleware' });
          for (const _ of [1, 2]) {
            failures = 1;
            expect((await get(`/after-${kind}-guard`))[0]).toBe(500);
          }
          expect(attempts).toHaveLength(2);
          expect(events).not.toContain('hook of the guard');
          expect(logger.ofLibrary('warn')).toEqual([
            expect.stringMatching(
              /^RetryController\.after(Reading|Hooking)Guard .*runInNewContext/,
            ),
          ]);
          await contextsAreGone();
        },
      );
    });

    describe('when the client leaves', () => {
      const noticed = (): Promise<void> =>
        waitFor(
          () =>
            new Promise<boolean>((resolve, reject) => {
              world.app
                .getHttpServer()
                .getConnections((error: Error | null, count: number) =>
                  error === null ? resolve(count === 0) : reject(error),
                );
            }),
          { what: 'the server to notice' },
        );

      it.each(['finish', 'rollback'] as const)(
        'C7: during an attempt, no other follows (%s)',
        async (onDisconnect) => {
          await start({ onDisconnect });
          const client = await RawClient.get(`${world.url}/slow-pause`);
          await reached.promise;
          await client.leave();
          await noticed();
          mayGoOn.resolve();
          await waitFor(() => errors.length === 1, { what: 'the end of the request' });
          expect(attempts).toHaveLength(1);
          await contextsAreGone();
        },
      );

      it.each(['finish', 'rollback'] as const)(
        'C7: in the pause, no other attempt follows (%s)',
        async (onDisconnect) => {
          await start({ onDisconnect });
          Math.random = () => 1;
          mayGoOn.resolve();
          const client = await RawClient.get(`${world.url}/slow-pause`);
          await firstAttemptIsOver();
          await client.leave();
          await waitFor(() => errors.length === 1, { what: 'the end of the request' });
          expect((errors[0] as Error).message).toContain('met in attempt 1');
          expect(attempts).toHaveLength(1);
          await contextsAreGone();
        },
      );

      it('C7: an Observable handler does not wait for the pause to end', async () => {
        await start();
        Math.random = () => 1;
        const client = await RawClient.get(`${world.url}/endless-pause`);
        await firstAttemptIsOver();
        await client.leave();
        await contextsAreGone();
        expect(attempts).toHaveLength(1);
      });
    });

    describe('when the application shuts down', () => {
      it('C7: in the pause, it waits for the next attempt', async () => {
        await start();
        Math.random = () => 1;
        failures = 1;
        mayGoOn.resolve();
        const answer = get('/slow-pause');
        await firstAttemptIsOver();
        await Promise.all([
          world.app.close(),
          answer.then((got) => expect(got).toEqual([200, '2'])),
        ]);
        expect(await world.savedTexts()).toEqual(['slow pause, attempt 2']);
      });

      it('C7: during an attempt that fails, the answer is 503', async () => {
        await start();
        const answer = get('/slow-pause');
        await reached.promise;
        const closing = world.app.close();
        const registry = world.app.get(ContextRegistry);
        await waitFor(() => registry.shutdown.hasBegun, { what: 'the drain to begin' });
        mayGoOn.resolve();
        expect((await answer)[0]).toBe(503);
        await closing;
        expect(errors).toEqual([expect.any(HttpException)]);
        expect(await world.savedTexts()).toEqual([]);
      });
    });
  },
);
