import type { EntityManager } from '@mikro-orm/postgresql';
import { CacheInterceptor, CacheModule } from '@nestjs/cache-manager';
import {
  Controller,
  Get,
  Header,
  Injectable,
  Module,
  Post,
  Query,
  Scope,
  UseGuards,
  UseInterceptors,
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  type NestInterceptor,
  type Provider,
  type Type,
} from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import {
  AFTER_COMMIT_INTERCEPTOR,
  DbContext,
  DbContextModule,
  InjectSession,
  InvalidOptionsError,
  SkipDbContext,
  UseAfterCommit,
} from 'nestjs-db-context';
import { recordContexts } from 'nestjs-db-context/testing';
import { of, tap, type Observable } from 'rxjs';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';

let seen: string[] = [];

/** Answers a request that it has seen before, by its key, as it answered then. */
@Injectable()
class Idempotency implements NestInterceptor {
  readonly #answers = new Map<string, unknown>();

  constructor(private readonly dbContext: DbContext) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const { query } = context.switchToHttp().getRequest<{ query: { key?: string } }>();
    const key = query.key ?? '';
    seen.push(`active: ${this.dbContext.isActive()}`);
    return this.#answers.has(key)
      ? of(this.#answers.get(key))
      : next.handle().pipe(
          tap((value) => {
            seen.push(`active: ${this.dbContext.isActive()}`);
            this.#answers.set(key, value);
          }),
        );
  }
}

/** Says when it runs. */
function named(name: string): NestInterceptor {
  return {
    intercept: (_context, next) => {
      seen.push(`before ${name}`);
      return next.handle().pipe(tap(() => seen.push(`after ${name}`)));
    },
  };
}

/** Writes a note, in the context that the middleware has opened. */
@Injectable()
class WritingGuard implements CanActivate {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async canActivate(): Promise<boolean> {
    await this.session.insert(Note, { text: `guard ${String(seen.push('guard'))}` });
    return true;
  }
}

@Controller()
class NoteController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @UseAfterCommit(CacheInterceptor)
  @Get('cached')
  async cached(@Query('text') text: string): Promise<string> {
    return this.#write(text);
  }

  @UseInterceptors(CacheInterceptor)
  @Get('cached-inside')
  async cachedInside(@Query('text') text: string): Promise<string> {
    return this.#write(text);
  }

  @UseInterceptors(CacheInterceptor)
  @Get('cached-read')
  async cachedRead(): Promise<number> {
    return this.session.count(Note);
  }

  @UseAfterCommit(Idempotency)
  @Post('once')
  async once(@Query('text') text: string): Promise<string> {
    return this.#write(text);
  }

  @UseAfterCommit(named('method'), named('method too'))
  @UseInterceptors(named('inside'))
  @Get('order')
  async order(): Promise<string> {
    this.dbContext.onCommit(() => seen.push('committed'));
    return this.#write('order');
  }

  @SkipDbContext()
  @UseAfterCommit(CacheInterceptor)
  @Get('skipped')
  skipped(): string {
    return `call ${seen.push('handler')}`;
  }

  /** The duplicate is found by the COMMIT. */
  async #write(text: string): Promise<string> {
    await this.session.execute('set constraints all deferred');
    await this.session.insert(Note, { text });
    return `wrote ${text}`;
  }
}

@UseAfterCommit(named('class'))
@Controller('in-class')
class ClassController {
  @UseAfterCommit(named('method'))
  @Get()
  get(): string {
    return 'in class';
  }
}

@UseGuards(WritingGuard)
@Controller('guarded')
class GuardedController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @UseAfterCommit(CacheInterceptor)
  @Header('x-route', 'guarded')
  @Get()
  async guarded(): Promise<number> {
    return this.session.count(Note);
  }
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

async function get(app: TestApp, path: string, init?: RequestInit): Promise<Answer> {
  const response = await app.fetch(`/${path}`, init);
  return { status: response.status, text: await response.text() };
}

describe.each<AdapterName>(['express', 'fastify'])(
  'interceptors around the context, over %s',
  (adapter) => {
    let database: TestDatabase;
    let app: TestApp;
    const log = new LogRecorder();

    beforeAll(async () => {
      database = await createTestDatabase();
      await database.query(NOTE_SCHEMA);
      app = await startApp({
        adapter,
        watch: true,
        imports: [CacheModule.register()],
        connections: [noteConnection(database.url)],
        controllers: [NoteController, ClassController],
        providers: [
          { provide: AFTER_COMMIT_INTERCEPTOR, useValue: [named('all'), named('all too')] },
        ],
        configure: (nest) => nest.useLogger(log),
      });
    });

    afterAll(async () => {
      await app?.close();
      await database?.drop();
    });

    beforeEach(async () => {
      seen = [];
      log.lines.length = 0;
      await database.query('truncate note restart identity');
      await database.query(`insert into note (text) values ('taken')`);
    });

    const saved = async (): Promise<unknown[]> =>
      (await database.query('select text from note order by id')).map((row) => row['text']);

    it('W1: what a failed COMMIT has lost does not come out of the cache afterwards', async () => {
      expect(await get(app, 'cached?text=taken')).toMatchObject({ status: 500 });
      expect(await get(app, 'cached?text=taken')).toMatchObject({ status: 500 });
      await database.query('truncate note');
      expect(await get(app, 'cached?text=taken')).toEqual({ status: 200, text: 'wrote taken' });
      await database.query('truncate note');
      expect(await get(app, 'cached?text=taken')).toEqual({ status: 200, text: 'wrote taken' });
      expect(await saved()).toEqual([]);
    });

    it('L2: an answer out of the cache opens no context', async () => {
      const ended = await recordContexts(app.app, async () => {
        await get(app, 'cached?text=hit');
        await get(app, 'cached?text=hit');
      });
      expect(ended).toEqual([{ outcome: 'committed', connections: ['default'] }]);
    });

    it('W1: a request that did not commit is not taken for done, and one that did is done once', async () => {
      const post = { method: 'POST' };
      expect(await get(app, 'once?key=1&text=taken', post)).toMatchObject({ status: 500 });
      expect(await get(app, 'once?key=1&text=other', post)).toMatchObject({ text: 'wrote other' });
      expect(await get(app, 'once?key=1&text=third', post)).toMatchObject({ text: 'wrote other' });
      expect(await saved()).toEqual(['taken', 'other']);
      expect(new Set(seen.filter((each) => each.startsWith('active')))).toEqual(
        new Set(['active: false']),
      );
    });

    it('S1: they run around the context, the inner ones inside, in the order of the source', async () => {
      await get(app, 'order');
      expect(seen).toEqual([
        'before all',
        'before all too',
        'before method',
        'before method too',
        'before inside',
        'after inside',
        'committed',
        'after method too',
        'after method',
        'after all too',
        'after all',
      ]);
      seen = [];
      await get(app, 'in-class');
      expect(seen.slice(0, 4)).toEqual([
        'before all',
        'before all too',
        'before class',
        'before method',
      ]);
    });

    it('W1: a route without a context has them, too', async () => {
      const first = await get(app, 'skipped');
      expect(await get(app, 'skipped')).toEqual(first);
      expect(seen.filter((each) => each === 'handler')).toHaveLength(1);
    });

    it('W1: warns once of a cache inside of a route that writes, and names the route', async () => {
      await get(app, 'cached-inside?text=a');
      await get(app, 'cached-inside?text=b');
      await get(app, 'cached-read');
      await get(app, 'cached?text=c');
      expect(log.ofLibrary('warn')).toEqual([
        expect.stringContaining('NoteController.cachedInside writes, and CacheInterceptor keeps'),
      ]);
    });
  },
);

describe.each<AdapterName>(['express', 'fastify'])(
  "interceptors around the context, mount: 'middleware', over %s",
  (adapter) => {
    let database: TestDatabase;
    let app: TestApp;

    beforeAll(async () => {
      database = await createTestDatabase();
      await database.query(NOTE_SCHEMA);
      app = await startApp({
        adapter,
        mount: 'middleware',
        imports: [CacheModule.register()],
        connections: [noteConnection(database.url)],
        controllers: [NoteController, GuardedController],
      });
    });

    afterAll(async () => {
      await app?.close();
      await database?.drop();
    });

    beforeEach(async () => {
      seen = [];
      await database.query('truncate note restart identity');
    });

    it('W1: what a failed COMMIT has lost does not come out of the cache afterwards', async () => {
      await database.query(`insert into note (text) values ('taken')`);
      expect(await get(app, 'cached?text=taken')).toMatchObject({ status: 500 });
      expect(await get(app, 'cached?text=taken')).toMatchObject({ status: 500 });
    });

    it('W1: what a guard has written is committed before the cache answers', async () => {
      expect(await get(app, 'guarded')).toEqual({ status: 200, text: '1' });
      expect(await database.query('select text from note')).toHaveLength(1);
      expect(await get(app, 'guarded')).toEqual({ status: 200, text: '1' });
      expect(await database.query('select text from note')).toHaveLength(2);
      expect(app.pool().checkedOut).toBe(0);
    });

    it('W1: they have no session, which is in the context inside of them', async () => {
      const answer = await get(app, 'once?key=1&text=once', { method: 'POST' });
      expect(answer).toEqual({ status: 201, text: 'wrote once' });
      expect(new Set(seen)).toEqual(new Set(['active: false']));
    });
  },
);

describe('interceptors around the context, as the application boots', () => {
  const nowhere = noteConnection('postgres://postgres@127.0.0.1:1/nothing');

  async function boot(controllers: Type[], providers: Provider[] = []): Promise<unknown> {
    @Module({ controllers, providers })
    class RoutesModule {}
    const testingModule = await Test.createTestingModule({
      imports: [DbContextModule.forRoot({ connections: [nowhere] }), RoutesModule],
    }).compile();
    const app = testingModule.createNestApplication({ logger: false });
    try {
      return await app.init().then(
        () => undefined,
        (error: unknown) => error,
      );
    } finally {
      await app.close();
    }
  }

  @Injectable({ scope: Scope.REQUEST })
  class PerRequest extends Idempotency {}

  @Controller()
  class Scoped {
    @UseAfterCommit(PerRequest)
    @Get()
    get(): void {}
  }

  @Controller()
  class NotResolved {
    @UseAfterCommit(CacheInterceptor)
    @Get()
    get(): void {}
  }

  it.each<[string, Type[], Provider[], string]>([
    ['one of a request', [Scoped], [], '@UseAfterCommit(PerRequest) on Scoped'],
    ['one whose dependency is missing', [NotResolved], [], '@UseAfterCommit(CacheInterceptor) on'],
    [
      'a provider of a request',
      [],
      [{ provide: AFTER_COMMIT_INTERCEPTOR, useClass: PerRequest, scope: Scope.REQUEST }],
      'AFTER_COMMIT_INTERCEPTOR in RoutesModule is request-scoped',
    ],
  ])('W1: %s fails the boot', async (_, controllers, providers, message) => {
    const error = await boot(controllers, providers);
    expect(error).toBeInstanceOf(InvalidOptionsError);
    expect(error).toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining(message),
    });
  });

  it('W1: what is no interceptor is refused as the class is loaded', () => {
    expect(() => UseAfterCommit(named('fine'), undefined as never)).toThrow(InvalidOptionsError);
    expect(() => UseAfterCommit(named('fine'), undefined as never)).toThrow(
      'something that is no interceptor, as number 2',
    );
  });

  it('W1: a provider of the module is the interceptor of its routes', async () => {
    @Controller()
    class Provided {
      @UseAfterCommit(Idempotency)
      @Get()
      get(): void {}
    }
    expect(await boot([Provided], [{ provide: Idempotency, useValue: named('double') }])).toBe(
      undefined,
    );
  });

  it('W1: warns of a global cache, of the routes that it keeps alone', async () => {
    const database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    const log = new LogRecorder();
    const app = await startApp({
      watch: true,
      imports: [CacheModule.register()],
      connections: [noteConnection(database.url)],
      controllers: [NoteController],
      providers: [{ provide: APP_INTERCEPTOR, useClass: CacheInterceptor }],
      configure: (nest) => nest.useLogger(log),
    });
    try {
      await get(app, 'once?text=post', { method: 'POST' });
      await get(app, 'cached-read');
      expect(log.ofLibrary('warn')).toEqual([]);
      await get(app, 'order');
      expect(log.ofLibrary('warn')).toEqual([
        expect.stringContaining('NoteController.order writes, and CacheInterceptor keeps'),
      ]);
    } finally {
      await app.close();
      await database.drop();
    }
  });
});
