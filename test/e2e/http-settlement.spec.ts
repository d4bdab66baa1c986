import {
  Controller,
  Get,
  Inject,
  Injectable,
  Query,
  Scope,
  type CallHandler,
  type ExecutionContext,
  type INestApplication,
  type NestInterceptor,
} from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import {
  DbContext,
  DbContextNotActiveError,
  getSessionToken,
  InjectSession,
} from 'nestjs-db-context';
import { concatMap, type Observable } from 'rxjs';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { createTestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { RawClient } from '../support/raw-client.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

@Injectable({ scope: Scope.REQUEST })
class RequestScoped {
  constructor(@InjectSession() readonly session: EntityManager) {}
}

@Injectable({ scope: Scope.TRANSIENT })
class Transient {
  constructor(@InjectSession() readonly session: EntityManager) {}
}

/** Writes one note before and one after what it surrounds. */
class Surrounding implements NestInterceptor {
  constructor(
    private readonly name: string,
    private readonly session: EntityManager,
  ) {}

  async intercept(context: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
    if (context.getHandler().name !== 'surrounded') {
      return next.handle();
    }
    await this.#write('before');
    return next.handle().pipe(
      concatMap(async (value) => {
        await this.#write('after');
        return `${String(value)}, ${this.name}`;
      }),
    );
  }

  async #write(when: string): Promise<void> {
    await this.session.persist(new Note(`${this.name} ${when}`)).flush();
  }
}

@Controller()
class SettlementController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Get('nothing')
  nothing(): string {
    return 'nothing';
  }

  @Get('write')
  async write(@Query('text') text: string): Promise<string> {
    await this.session.persist(new Note(text)).flush();
    return 'written';
  }

  @Get('deferred-failure')
  async deferredFailure(): Promise<string> {
    await this.session.execute('set constraints all deferred');
    this.session.persist([new Note('twice'), new Note('twice')]);
    await this.session.flush();
    return 'looks fine';
  }

  @Get('surrounded')
  async surrounded(): Promise<string> {
    await this.session.persist(new Note('handler')).flush();
    return 'handler';
  }

  @Get('run')
  async run(): Promise<boolean[]> {
    this.session.persist(new Note('outer'));
    const active = await this.dbContext.run(async () => {
      await this.session.persist(new Note('inner')).flush();
      return this.dbContext.isActive();
    });
    this.session.persist(new Note('afterwards'));
    return [active, this.dbContext.isActive()];
  }

  @Get('run-then-fail')
  async runThenFail(): Promise<never> {
    await this.dbContext.run(() => this.session.persist(new Note('inner')).flush());
    throw new Error('no');
  }
}

@Controller('scoped')
class ScopedController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly requestScoped: RequestScoped,
    private readonly transient: Transient,
    private readonly transientToo: Transient,
  ) {}

  @Get()
  async xids(): Promise<string[]> {
    const xids: string[] = [];
    const { session, requestScoped, transient, transientToo } = this;
    for (const each of [session, requestScoped.session, transient.session, transientToo.session]) {
      const [row] = await each.execute<{ xid: string }[]>(
        'select pg_current_xact_id()::text as xid',
      );
      xids.push(row!.xid);
    }
    return xids;
  }
}

/** Stands for the other application, which this one calls in its own process. */
const OTHER_APPLICATION = Symbol('other application');

@Controller('calls')
class CallingController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
    @Inject(OTHER_APPLICATION) private readonly other: () => NestFastifyApplication,
  ) {}

  @Get('route')
  async route(): Promise<never> {
    await this.session.persist(new Note('caller')).flush();
    const answer = await this.other().inject('/write?text=callee');
    const isActive = this.dbContext.isActive();
    await this.session.persist(new Note('caller again')).flush();
    throw new Error(`${answer.payload}, ${String(isActive)}`);
  }

  @Get('service')
  async service(): Promise<string[]> {
    await this.session.persist(new Note('caller')).flush();
    const other = this.other();
    const session = other.get<EntityManager>(getSessionToken());
    const dbContext = other.get(DbContext);
    const outside = await session.find(Note, {}).then(
      () => 'found',
      (error: Error) => error.name,
    );
    const inside = await dbContext.run(async () => {
      await session.persist(new Note('callee')).flush();
      return this.dbContext.isActive();
    });
    return [outside, String(dbContext.isActive()), String(inside)];
  }
}

describe.each<AdapterName>(['express', 'fastify'])('settlement over %s', (adapter) => {
  let world: TestWorld;

  afterEach(() => world?.close());

  const start = async (options: Parameters<typeof startWorld>[1] = {}): Promise<void> => {
    world = await startWorld({}, { adapter, controllers: [SettlementController], ...options });
  };
  const verbs = () => world.proxy.log.map((sql) => sql.split(' ')[0]);

  it('S1: no byte of the response leaves before COMMIT was answered', async () => {
    await start();
    const commitReached = deferred();
    const commitMayGoOn = deferred();
    const events: string[] = [];
    world.proxy.onStatement = async (sql) => {
      if (sql === 'commit') {
        commitReached.resolve();
        await commitMayGoOn.promise;
        events.push('commit');
      }
    };
    const client = await RawClient.get(`${world.url}/write?text=a`, () => events.push('bytes'));
    await commitReached.promise;
    // A whole exchange with the same server: bytes that had left would be here by now.
    expect(await (await world.fetch('/nothing')).text()).toBe('nothing');
    expect(client.received).toBe('');
    expect(await world.savedTexts()).toEqual([]);

    commitMayGoOn.resolve();
    expect(await client.response()).toContain('200 OK');
    expect(events.slice(0, 2)).toEqual(['commit', 'bytes']);
    expect(await world.savedTexts()).toEqual(['a']);
  });

  it('S1: a COMMIT that fails is a 500, and nothing is saved', async () => {
    await start();
    const answer = await world.fetch('/deferred-failure');
    expect(answer.status).toBe(500);
    expect(await answer.text()).not.toContain('looks fine');
    expect(verbs().filter((verb) => verb === 'commit')).toHaveLength(1);
    expect(await world.savedTexts()).toEqual([]);
    expect(world.pool().checkedOut).toBe(0);
    expect((await world.fetch('/write?text=next')).status).toBe(200);
  });

  it('S1: global interceptors of the application run inside, no matter what registered them', async () => {
    await start({
      providers: [
        {
          provide: APP_INTERCEPTOR,
          inject: [getSessionToken()],
          useFactory: (session: EntityManager) => new Surrounding('APP_INTERCEPTOR', session),
        },
      ],
      configure: (app: INestApplication) => {
        app.useGlobalInterceptors(new Surrounding('global', app.get(getSessionToken())));
      },
    });
    const answer = await world.fetch('/surrounded');
    expect(await answer.text()).toBe('handler, global, APP_INTERCEPTOR');
    expect(await world.savedTexts()).toEqual([
      'APP_INTERCEPTOR before',
      'global before',
      'handler',
      'global after',
      'APP_INTERCEPTOR after',
    ]);
    expect(verbs().filter((verb) => verb !== 'insert')).toEqual(['begin', 'commit']);
  });

  it('S8: dbContext.run() inside a request joins and does not settle', async () => {
    await start();
    expect(await (await world.fetch('/run')).json()).toEqual([true, true]);
    expect(verbs().filter((verb) => verb !== 'insert')).toEqual(['begin', 'commit']);
    expect((await world.savedTexts()).toSorted()).toEqual(['afterwards', 'inner', 'outer']);

    world.proxy.reset();
    expect((await world.fetch('/run-then-fail')).status).toBe(500);
    expect(verbs()).toEqual(['begin', 'insert', 'rollback']);
  });

  it('M1: request-scoped and transient providers get the session of the request', async () => {
    await start({ controllers: [ScopedController], providers: [RequestScoped, Transient] });
    const first = (await (await world.fetch('/scoped')).json()) as string[];
    const second = (await (await world.fetch('/scoped')).json()) as string[];
    expect(first).toHaveLength(4);
    expect(new Set(first).size).toBe(1);
    expect(new Set(second).size).toBe(1);
    expect(first[0]).not.toBe(second[0]);
  });

  describe('two applications in one process', () => {
    let other: TestApp;

    beforeEach(async () => {
      const database = await createTestDatabase();
      await database.query(NOTE_SCHEMA);
      const started = await startApp({
        adapter: 'fastify',
        connections: [noteConnection(database.url)],
        controllers: [SettlementController],
      });
      other = {
        ...started,
        close: async () => {
          await started.close();
          await database.drop();
        },
      };
      await start({
        controllers: [CallingController],
        providers: [
          {
            provide: OTHER_APPLICATION,
            useValue: () => other.app as unknown as NestFastifyApplication,
          },
        ],
      });
    });

    afterEach(() => other?.close());

    const savedByOther = () =>
      other.dbContext.run(async () =>
        (await other.session().find(Note, {})).map(({ text }) => text),
      );

    it('S8: a route of the other one settles a context of its own', async () => {
      expect((await world.fetch('/calls/route')).status).toBe(500);
      expect(await world.savedTexts()).toEqual([]);
      expect(verbs()).toEqual(['begin', 'insert', 'insert', 'rollback']);
      expect(await savedByOther()).toEqual(['callee']);
    });

    it('S8: a service of the other one does not see the context of the caller', async () => {
      expect(await (await world.fetch('/calls/service')).json()).toEqual([
        DbContextNotActiveError.name,
        'false',
        'true',
      ]);
      expect(await world.savedTexts()).toEqual(['caller']);
      expect(await savedByOther()).toEqual(['callee']);
      expect(world.app.get(ContextRegistry).runningCount).toBe(0);
      expect(other.app.get(ContextRegistry).runningCount).toBe(0);
    });
  });
});
