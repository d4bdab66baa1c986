import { AsyncResource } from 'node:async_hooks';

import type { EntityManager } from '@mikro-orm/postgresql';
import {
  Catch,
  Controller,
  ForbiddenException,
  Injectable,
  Module,
  Param,
  Post,
  Query,
  UseInterceptors,
  type ArgumentsHost,
  type CallHandler,
  type DynamicModule,
  type ExecutionContext,
  type MiddlewareConsumer,
  type NestInterceptor,
  type NestModule,
  type Provider,
} from '@nestjs/common';
import { APP_FILTER, APP_INTERCEPTOR, BaseExceptionFilter } from '@nestjs/core';
import { DbContext, DbContextInterceptor, InjectSession, SkipDbContext } from 'nestjs-db-context';
import { ClsModule, ClsService, ClsServiceManager } from 'nestjs-cls';
import { finalize, type Observable } from 'rxjs';

import { Note } from '../support/note.entity.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

const cls = ClsServiceManager.getClsService();

/** What the parts of the application around a handler found in the store of the application. */
let sights: Record<string, unknown> = {};

/** What `sessionVariables` was called with, and what it found. */
let variablesSaw: { readonly cls: ClsService; readonly isActive: boolean }[] = [];

const look = (): unknown => (cls.isActive() ? (cls.get('user') ?? 'no value') : 'no store');

/** Looks once the response is sent, in the async scope in which it saw the request come in. */
function logAccess(_: unknown, response: NodeJS.EventEmitter, next: () => void): void {
  response.on(
    'finish',
    AsyncResource.bind(() => {
      sights['access log'] = look();
    }),
  );
  next();
}

@Module({})
class AccessLogModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(logAccess).forRoutes('*path');
  }
}

/** A global interceptor: inside of the library's own one, or outside of that of a route. */
@Injectable()
class LookingInterceptor implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    const lookLater = AsyncResource.bind(look);
    return next.handle().pipe(
      finalize(() => {
        sights['interceptor'] = lookLater();
      }),
    );
  }
}

@Catch()
class LookingFilter extends BaseExceptionFilter {
  override catch(error: unknown, host: ArgumentsHost): void {
    sights['filter'] = look();
    // oxlint-disable-next-line promise/valid-params, promise/no-promise-in-callback -- a filter of Nest
    super.catch(error, host);
  }
}

const LOOKERS: Provider[] = [
  { provide: APP_INTERCEPTOR, useClass: LookingInterceptor },
  { provide: APP_FILTER, useClass: LookingFilter },
];

/** A service in which no store of the application is known of. */
@Injectable()
class NoteService {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async write(text: string): Promise<string> {
    await this.session.insert(Note, { text });
    const [row] = await this.session.execute<{ xid: string }[]>(
      'select pg_current_xact_id()::text as xid',
    );
    return row!.xid;
  }

  async variable(): Promise<string> {
    const [row] = await this.session.execute<{ value: string }[]>(
      `select current_setting('app.user') as value`,
    );
    return row!.value;
  }
}

type Work = () => Promise<string>;

/** What an application does to its store while it works. */
const WAYS = {
  'runWith()': (work: Work) => cls.runWith({}, work),
  'run() with override': (work: Work) => cls.run({ ifNested: 'override' }, work),
  'run() with reuse': (work: Work) => cls.run({ ifNested: 'reuse' }, work),
  'run() with inherit': (work: Work) => cls.run({ ifNested: 'inherit' }, work),
  'exit()': (work: Work) => cls.exit(work),
  'run() within exit()': (work: Work) => cls.exit(() => cls.run(work)),
  'enterWith()': (work: Work) => {
    cls.enterWith({});
    return work();
  },
} as const;
type Way = keyof typeof WAYS;
const ways = Object.keys(WAYS) as Way[];

/** The routes. */
abstract class Routes {
  constructor(
    private readonly notes: NoteService,
    private readonly dbContext: DbContext,
  ) {}

  @Post('values')
  values(@Query('fail') fail?: string): string {
    if (cls.isActive()) {
      cls.set('user', 'ann');
    }
    sights['handler'] = look();
    if (fail !== undefined) {
      throw new ForbiddenException();
    }
    return 'ok';
  }

  @Post('nested/:way')
  async nested(@Param('way') way: Way, @Query('fail') fail?: string): Promise<unknown> {
    const outside = await this.notes.write('outside');
    const inside = await WAYS[way](() => this.notes.write('inside'));
    const after = await this.notes.write('after');
    if (fail !== undefined) {
      throw new ForbiddenException();
    }
    return { isSame: inside === outside && after === outside, isActive: this.dbContext.isActive() };
  }

  @Post('first-inside/:way')
  async firstInside(@Param('way') way: Way): Promise<unknown> {
    const inside = await WAYS[way](() => this.notes.write('inside'));
    return { isSame: (await this.notes.write('after')) === inside };
  }

  @Post('variables')
  variables(): Promise<string> {
    if (cls.isActive()) {
      cls.set('user', 'ann');
    }
    return this.notes.variable();
  }

  @Post('inner-variables')
  innerVariables(): Promise<string> {
    return cls.run({ ifNested: 'inherit' }, () => {
      cls.set('user', 'bob');
      return this.notes.variable();
    });
  }
}

@Controller()
class PlainController extends Routes {
  // oxlint-disable-next-line eslint/no-useless-constructor -- Nest looks at the very class
  constructor(notes: NoteService, dbContext: DbContext) {
    super(notes, dbContext);
  }
}

@UseInterceptors(DbContextInterceptor)
@Controller('intercepted')
class InterceptedController extends Routes {
  // oxlint-disable-next-line eslint/no-useless-constructor -- Nest looks at the very class
  constructor(notes: NoteService, dbContext: DbContext) {
    super(notes, dbContext);
  }
}

@SkipDbContext()
@Controller('skipped')
class SkippedController extends Routes {
  // oxlint-disable-next-line eslint/no-useless-constructor -- Nest looks at the very class
  constructor(notes: NoteService, dbContext: DbContext) {
    super(notes, dbContext);
  }
}

/** How an application mounts its own store. */
const MOUNTS: Record<string, readonly DynamicModule[]> = {
  'by its interceptor': [ClsModule.forRoot({ global: true, interceptor: { mount: true } })],
  'by its middleware': [ClsModule.forRoot({ global: true, middleware: { mount: true } })],
  'by its middleware, with enterWith()': [
    ClsModule.forRoot({ global: true, middleware: { mount: true, useEnterWith: true } }),
  ],
  'by its guard': [ClsModule.forRoot({ global: true, guard: { mount: true } })],
  'not at all': [ClsModule.forRoot({ global: true })],
  'without ClsModule': [],
};

/**
 * The mounts that depend on the adapter. All of them on both are 36 applications: `npm run test:mounts`.
 */
const ON_FASTIFY = ['by its interceptor', 'by its middleware', 'without ClsModule'];
const isShort = process.env['DB_CONTEXT_ALL_MOUNTS'] === undefined;

function mountsOn(adapter: AdapterName): [string, readonly DynamicModule[]][] {
  const all = Object.entries(MOUNTS);
  return isShort && adapter === 'fastify' ? all.filter(([name]) => ON_FASTIFY.includes(name)) : all;
}

type LibraryMount = 'interceptor' | 'middleware' | 'none';

/** How the library is mounted, and the prefix of the routes that have a context then. */
const LIBRARY: Record<string, { readonly mount: LibraryMount; readonly prefix: string }> = {
  interceptor: { mount: 'interceptor', prefix: '' },
  middleware: { mount: 'middleware', prefix: '' },
  'interceptor of the route': { mount: 'none', prefix: '/intercepted' },
};

async function startCls(
  adapter: AdapterName,
  imports: readonly DynamicModule[],
  mount: LibraryMount,
): Promise<TestWorld> {
  return startWorld(
    {
      sessionVariables: (given) => {
        variablesSaw.push({ cls: given, isActive: given.isActive() });
        return { 'app.user': String(given.get('user') ?? 'nobody') };
      },
    },
    {
      adapter,
      mount,
      controllers: [PlainController, InterceptedController, SkippedController],
      providers: [NoteService, ...LOOKERS],
      imports: [...imports, AccessLogModule],
    },
  );
}

describe.each<AdapterName>(['express', 'fastify'])(
  'the store of the application (%s)',
  (adapter) => {
    describe.each(mountsOn(adapter))('mounted %s', (mount, imports) => {
      const worlds = new Map<LibraryMount, TestWorld>();
      const isMounted = mount.startsWith('by');

      beforeAll(async () => {
        const mounts: LibraryMount[] = ['interceptor', 'middleware', 'none'];
        await Promise.all(
          mounts.map(async (each) => worlds.set(each, await startCls(adapter, imports, each))),
        );
      });
      afterAll(async () => {
        await Promise.all([...worlds.values()].map((world) => world.close()));
      });
      beforeEach(async () => {
        variablesSaw = [];
        for (const world of worlds.values()) {
          await world.database.query('truncate note restart identity');
        }
      });
      afterEach(async () => {
        for (const world of worlds.values()) {
          await world.serverIsIdle();
          expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
        }
      });

      /** What is seen at a request that succeeds, and at one that fails. */
      const sightsOf = async (world: TestWorld, prefix: string): Promise<unknown[]> => {
        const seen: unknown[] = [];
        for (const path of [`${prefix}/values`, `${prefix}/values?fail`]) {
          sights = {};
          await world.fetch(path, { method: 'POST' });
          await waitFor(() => 'access log' in sights, { what: 'the response to be finished' });
          seen.push(sights);
        }
        return seen;
      };
      /** The same where the library is there, and opens no context. */
      const plainSights = (): Promise<unknown[]> => sightsOf(worlds.get('none')!, '');

      it.each(['interceptor', 'middleware'] as const)(
        'W4: @SkipDbContext() under the %s leaves the store of the application as it is',
        async (libraryMount) => {
          expect(await sightsOf(worlds.get(libraryMount)!, '/skipped')).toEqual(
            await plainSights(),
          );
        },
      );

      describe.each(Object.entries(LIBRARY))(
        'with the %s',
        (_, { mount: libraryMount, prefix }) => {
          let world: TestWorld;

          beforeAll(() => {
            world = worlds.get(libraryMount)!;
          });

          const post = async (path: string): Promise<{ status: number; body: string }> => {
            const response = await world.fetch(prefix + path, { method: 'POST' });
            return { status: response.status, body: await response.text() };
          };

          it('W4: values that a handler sets are seen as without the library', async () => {
            expect(await sightsOf(world, prefix)).toEqual(await plainSights());
          });

          it.each(ways)('W4: within %s a handler goes on in its session', async (way) => {
            const path = encodeURIComponent(way);
            expect(await post(`/nested/${path}`)).toEqual({
              status: 201,
              body: JSON.stringify({ isSame: true, isActive: true }),
            });
            expect(await world.savedTexts()).toEqual(['outside', 'inside', 'after']);
          });

          it.each(ways)(
            'W4: what is written within %s is rolled back with the request',
            async (way) => {
              expect((await post(`/nested/${encodeURIComponent(way)}?fail`)).status).toBe(403);
              expect(await world.savedTexts()).toEqual([]);
            },
          );

          it.each(ways)(
            'W4: a session that is first used within %s is that of the request',
            async (way) => {
              expect(await post(`/first-inside/${encodeURIComponent(way)}`)).toEqual({
                status: 201,
                body: JSON.stringify({ isSame: true }),
              });
              expect(await world.savedTexts()).toEqual(['inside', 'after']);
            },
          );

          it('W4, C7: sessionVariables gets the store of the application', async () => {
            expect(await post('/variables')).toEqual({
              status: 201,
              body: isMounted ? 'ann' : 'nobody',
            });
            expect(variablesSaw).toEqual([{ cls: expect.any(ClsService), isActive: isMounted }]);
            expect(variablesSaw[0]!.cls).toBe(cls);
          });

          it('W4, C7: sessionVariables sees the store that the first statement was sent in', async () => {
            expect(await post('/inner-variables')).toEqual({ status: 201, body: 'bob' });
          });
        },
      );
    });
  },
);

describe('the store of the application, where no request opens it', () => {
  const shared = useWorld();
  const { run, insert, xid } = shared;

  /** Runs a callback in a store of the application, and returns what the store holds afterwards. */
  const inStore = async (callback: () => Promise<unknown>): Promise<Record<string, unknown>> => {
    const store: Record<string, unknown> = { user: 'ann' };
    await cls.runWith(store, callback);
    return store;
  };
  const setAndInsert = async (): Promise<void> => {
    await insert('saved');
    cls.set('user', 'bob');
  };

  it.each<[string, () => Promise<unknown>]>([
    ['run()', () => run(setAndInsert)],
    ['runInNewContext()', () => shared.dbContext.runInNewContext(setAndInsert)],
    ['runInNewContext() in run()', () => run(() => shared.dbContext.runInNewContext(setAndInsert))],
    ['runAllInNewContexts()', () => shared.dbContext.runAllInNewContexts([setAndInsert])],
    ['atomic()', () => run(() => shared.dbContext.atomic(setAndInsert))],
    ['newAtomicSession()', () => run(() => shared.dbContext.newAtomicSession(setAndInsert))],
    ['transactional()', () => run(() => shared.session.transactional(setAndInsert))],
    [
      'an onCommit hook',
      () =>
        run(async () => {
          shared.dbContext.onCommit(setAndInsert);
        }),
    ],
    [
      'a beforeCommit hook',
      () =>
        run(async () => {
          shared.dbContext.beforeCommit(setAndInsert);
        }),
    ],
  ])(
    'W4: a value that is set within %s is there after it, and nothing else is',
    async (_, work) => {
      const store = await inStore(work);
      expect(Reflect.ownKeys(store)).toEqual(['user']);
      expect(store['user']).toBe('bob');
      expect(await shared.world.savedTexts()).toEqual(['saved']);
    },
  );

  it('W4: inside of a context the store of the application is the very one from outside', async () => {
    const seen: unknown[] = [];
    const store = await inStore(() =>
      run(async () => {
        seen.push(cls.get());
        await shared.dbContext.runInNewContext(async () => seen.push(cls.get()));
      }),
    );
    expect(seen).toHaveLength(2);
    expect(seen[0]).toBe(store);
    expect(seen[1]).toBe(store);
  });

  it('W4: where the application has no store, a context opens none', async () => {
    const seen: boolean[] = [];
    await run(async () => {
      seen.push(cls.isActive());
      await insert('saved');
      await shared.dbContext.runInNewContext(async () => seen.push(cls.isActive()));
      seen.push(cls.isActive());
    });
    expect(seen).toEqual([false, false, false]);
    await expect(run(async () => cls.set('user', 'ann'))).rejects.toThrow(
      'No CLS context available',
    );
  });

  it.each(ways)('W4: within %s a job goes on in its context', async (way) => {
    await run(async () => {
      const outside = await xid();
      const inside = await WAYS[way](async () => {
        await insert('inside');
        return xid();
      });
      expect(inside).toBe(outside);
      expect(shared.dbContext.isActive()).toBe(true);
    });
    expect(await shared.world.savedTexts()).toEqual(['inside']);
  });

  it.each(ways)('W4: what a job writes within %s is undone with its context', async (way) => {
    const error = new Error('the job');
    await expect(
      run(async () => {
        await WAYS[way](async () => {
          await insert('inside');
          return 'written';
        });
        throw error;
      }),
    ).rejects.toBe(error);
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it('W4: two contexts side by side do not see one another, with any stores', async () => {
    const xids = await cls.runWith({}, () =>
      Promise.all([1, 2].map(() => run(() => cls.exit(() => xid())))),
    );
    expect(new Set(xids).size).toBe(2);
  });
});
