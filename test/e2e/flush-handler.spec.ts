import type { EntityManager } from '@mikro-orm/postgresql';
import {
  ClassSerializerInterceptor,
  ConflictException,
  Controller,
  Get,
  HttpCode,
  Injectable,
  Post,
  Query,
  Scope,
  Sse,
  UseInterceptors,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import {
  DbContext,
  DbContextModule,
  FlushOn,
  InjectSession,
  InvalidOptionsError,
} from 'nestjs-db-context';
import { recordStatements } from 'nestjs-db-context/testing';
import { concat, defer, from, map, of, tap, throwError, toArray, type Observable } from 'rxjs';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { LogRecorder } from '../support/log-recorder.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

let seen: string[] = [];

/** What an inner interceptor, such as one that maps entities to answers, makes of a value. */
function around(change: (handled: Observable<unknown>) => Observable<unknown>): NestInterceptor {
  return {
    intercept: (_context: ExecutionContext, next: CallHandler) => change(next.handle()),
  };
}

const noteErrors = around((handled) =>
  handled.pipe(tap({ error: (error: Error) => seen.push(`interceptor: ${error.name}`) })),
);
const noteValues = around((handled) =>
  handled.pipe(
    tap({
      next: (value) => seen.push(`value: ${typeof (value as Note).id}`),
      error: (error: Error) => seen.push(`then: ${error.message}`),
    }),
  ),
);
const idOnly = around((handled) => handled.pipe(map((value) => ({ id: (value as Note).id }))));
const listOfIds = around((handled) =>
  handled.pipe(
    map((value) => (value as Note).id),
    toArray(),
    map((ids) => ({ ids })),
  ),
);

/** The serializer of Nest, with a stand-in for `class-transformer` that copies what it gets. */
@Injectable()
class Serializer extends ClassSerializerInterceptor {
  constructor(reflector: Reflector) {
    const classToPlain = (value: object): object => ({ ...value, isPlain: true });
    super(reflector, { transformerPackage: { classToPlain } as never });
  }
}

@UseInterceptors(Serializer, noteErrors)
@Controller()
class NoteController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectSession('other') private readonly other: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Post('sync')
  sync(@Query('text') text: string): Note {
    return this.#persisted(text);
  }

  @Post('promise')
  async promise(@Query('text') text: string): Promise<Note> {
    return Promise.resolve(this.#persisted(text));
  }

  @UseInterceptors(idOnly)
  @Post('mapped')
  async mapped(@Query('text') text: string): Promise<Note> {
    return this.promise(text);
  }

  @FlushOn('commit')
  @Post('on-commit')
  onCommit(@Query('text') text: string): Note {
    return this.#persisted(text);
  }

  @UseInterceptors(listOfIds)
  @Post('observable')
  observable(@Query('text') text: string): Observable<Note> {
    return concat(
      of(text),
      defer(() => Promise.resolve(`${text} too`)),
    ).pipe(map((each) => this.#persisted(each)));
  }

  @UseInterceptors(listOfIds)
  @Post('promised-observable')
  async promisedObservable(@Query('text') text: string): Promise<Observable<Note>> {
    return Promise.resolve(this.observable(text));
  }

  /** Emits twice and fails, all in one go. */
  @UseInterceptors(noteValues)
  @Post('fails-at-once')
  failsAtOnce(@Query('text') text: string): Observable<Note> {
    return concat(
      from([text, `${text} too`]).pipe(map((each) => this.#persisted(each))),
      throwError(() => new ConflictException('after both')),
    );
  }

  @Post('two-sessions')
  twoSessions(@Query('text') text: string): Note[] {
    const inOther = new Note(`${text} in the other one`);
    this.other.persist(inOther);
    return [this.#persisted(text), inOther];
  }

  @HttpCode(409)
  @Post('refused')
  refused(): Note {
    return this.#persisted('taken');
  }

  @Post('swallowed')
  async swallowed(@Query('text') text: string): Promise<Note> {
    await this.session.execute('select no_such_column').catch(() => undefined);
    return this.#persisted(text);
  }

  @Post('rollback-only')
  rollbackOnly(@Query('text') text: string): Note {
    this.dbContext.rollbackOnly();
    return this.#persisted(text);
  }

  @Post('nested')
  async nested(@Query('text') text: string): Promise<Note> {
    // One handler that calls another one is a plain call, which flushes nothing.
    const inside = await this.promise(`${text} inside`);
    seen.push(`id inside: ${inside.id}`);
    return this.#persisted(text);
  }

  @Get('read')
  async read(): Promise<Note[]> {
    return this.session.find(Note, {});
  }

  @Post('update')
  async update(@Query('text') text: string): Promise<Note> {
    const note = await this.session.findOneOrFail(Note, { text: 'taken' });
    note.text = text;
    return note;
  }

  @Get('nothing')
  async nothing(): Promise<string[]> {
    return Promise.resolve([]);
  }

  #persisted(text: string): Note {
    const note = new Note(text);
    this.session.persist(note);
    return note;
  }
}

/** Its handlers are those of another class, which two applications have here. */
@Controller('inherited')
class InheritingController extends NoteController {}

@UseInterceptors(idOnly)
@Controller({ path: 'scoped', scope: Scope.REQUEST })
class ScopedController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post()
  create(@Query('text') text: string): Note {
    const note = new Note(text);
    this.session.persist(note);
    return note;
  }
}

/** Streams, whose values leave before the commit. */
@Controller('stream')
class StreamController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Sse()
  events(): Observable<{ data: Note }> {
    return from(['first', 'second']).pipe(
      map((text) => {
        const note = new Note(text);
        this.session.persist(note);
        return { data: note };
      }),
    );
  }
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

describe.each<AdapterName>(['express', 'fastify'])('when the flush is, over %s', (adapter) => {
  let database: TestDatabase;
  let app: TestApp;
  /** A second application of the process, with the same controllers. */
  let withoutIt: TestApp;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    app = await startApp({
      adapter,
      connections: [noteConnection(database.url), noteConnection(database.url, { name: 'other' })],
      controllers: [NoteController, InheritingController, ScopedController, StreamController],
    });
    withoutIt = await startApp({
      adapter,
      flush: 'commit',
      connections: [noteConnection(database.url), noteConnection(database.url, { name: 'other' })],
      controllers: [NoteController],
    });
  });

  afterAll(async () => {
    await withoutIt?.close();
    await app?.close();
    await database?.drop();
  });

  beforeEach(async () => {
    seen = [];
    await database.query('truncate note restart identity');
    await database.query(`insert into note (text) values ('taken')`);
  });

  afterEach(() => {
    expect([app.pool().checkedOut, app.pool('other').checkedOut]).toEqual([0, 0]);
  });

  async function post(path: string, text = path, target = app): Promise<Answer> {
    const response = await target.fetch(`/${path}?text=${text}`, { method: 'POST' });
    return { status: response.status, body: await response.json() };
  }

  const saved = async (): Promise<unknown[]> =>
    database.query('select id, text from note order by id');

  /** The statements of a request, without those that control its transaction. */
  async function statementsOf(path: string, method: string): Promise<string[]> {
    const sent = await recordStatements(app.app, async () => {
      const response = await app.fetch(path, { method });
      await response.text();
    });
    return sent.map(({ sql }) => sql.split(' ')[0]!);
  }

  it.each(['sync', 'promise'])(
    'S3: %s: the serializer of Nest gets the entity with the id that the database gave it',
    async (path) => {
      const { status, body } = await post(path);
      expect({ status, body }).toEqual({ status: 201, body: { id: 2, text: path, isPlain: true } });
      expect(await saved()).toContainEqual({ id: 2, text: path });
    },
  );

  it('S3: an interceptor that makes the answer of the entity finds its id', async () => {
    expect(await post('mapped')).toEqual({ status: 201, body: { id: 2, isPlain: true } });
  });

  it.each(['observable', 'promised-observable'])(
    'S3: %s: each value is passed on after what came before it was flushed',
    async (path) => {
      expect(await post(path)).toEqual({ status: 201, body: { ids: [2, 3], isPlain: true } });
      expect(await saved()).toHaveLength(3);
    },
  );

  it('S3: an error that comes at once does not overtake the values before it, nor their flush', async () => {
    const log = new LogRecorder();
    app.app.useLogger(log);
    const sent = await statementsOf('/fails-at-once?text=text', 'POST');
    expect(seen).toEqual([
      'value: number',
      'value: number',
      'then: after both',
      'interceptor: ConflictException',
    ]);
    // Both had come before the first flush.
    expect(sent).toEqual(['insert']);
    expect(log.ofLibrary('error')).toEqual([]);
    expect(await saved()).toEqual([{ id: 1, text: 'taken' }]);
  });

  it('S3: all sessions of the context are flushed', async () => {
    const { body } = await post('two-sessions', 'text');
    expect(body).toEqual([
      expect.objectContaining({ text: 'text', id: expect.any(Number) }),
      expect.objectContaining({ text: 'text in the other one', id: expect.any(Number) }),
    ]);
  });

  it('S3: a constraint fails where a flush of the handler would, and the answer is an error', async () => {
    expect(await post('promise', 'taken')).toMatchObject({ status: 500 });
    expect(seen).toEqual(['interceptor: UniqueConstraintViolationException']);
    expect(await saved()).toHaveLength(1);
  });

  it("S3: @FlushOn('commit') flushes after all interceptors", async () => {
    expect((await post('on-commit')).body).toEqual({ text: 'on-commit', isPlain: true });
    expect(await post('on-commit', 'taken')).toMatchObject({ status: 500 });
    expect(seen).toEqual([]);
    expect(await saved()).toEqual([
      { id: 1, text: 'taken' },
      { id: 2, text: 'on-commit' },
    ]);
  });

  it('S2: what will be rolled back is not flushed', async () => {
    expect(await statementsOf('/refused', 'POST')).toEqual([]);
    expect(await post('refused')).toEqual({
      status: 409,
      body: { text: 'taken', isPlain: true },
    });
  });

  it.each([
    ['swallowed', 'a statement that has failed'],
    ['rollback-only', 'rollbackOnly()'],
  ])('F4: %s: nothing is flushed after %s, which the answer names', async (path) => {
    expect(await post(path)).toMatchObject({ status: 500 });
    expect(seen).toEqual([]);
    expect(await saved()).toHaveLength(1);
  });

  it('S3: a handler that another one calls is not flushed', async () => {
    const { body } = await post('nested', 'text');
    expect(seen).toEqual(['id inside: undefined']);
    expect(body).toMatchObject({ id: expect.any(Number) });
    expect(await saved()).toHaveLength(3);
  });

  it('S3: handlers that are inherited, and those of controllers of a request, are flushed', async () => {
    expect((await post('inherited/promise', 'a')).body).toMatchObject({ id: 2 });
    expect((await post('scoped', 'b')).body).toEqual({ id: 3 });
  });

  it('S3: each event of a stream leaves after it was flushed', async () => {
    const text = await (await app.fetch('/stream')).text();
    expect([...text.matchAll(/"id":(\d)/g)].map(([, id]) => id)).toEqual(['2', '3']);
    await waitFor(async () => (await saved()).length === 3, { what: 'the commit' });
  });

  it("S3: an application with flush: 'commit' is not affected by one that shares its classes", async () => {
    expect((await post('promise', 'a', withoutIt)).body).toEqual({ text: 'a', isPlain: true });
    expect((await post('promise', 'b')).body).toMatchObject({ id: 3 });
    expect((await post('promise', 'c', withoutIt)).body).not.toHaveProperty('id');
  });

  it('L2: nothing is sent where there is nothing to flush, and each change is sent once', async () => {
    expect(await statementsOf('/nothing', 'GET')).toEqual([]);
    expect(await statementsOf('/read', 'GET')).toEqual(['select']);
    expect(await statementsOf('/update?text=changed', 'POST')).toEqual(['select', 'update']);
    expect(await statementsOf('/promise?text=new', 'POST')).toEqual(['insert']);
  });
});

describe('the option flush', () => {
  it('S3: is refused where it is none of its words', () => {
    const options = { connections: [], flush: 'never' as 'commit' };
    expect(() => DbContextModule.forRoot(options)).toThrow(InvalidOptionsError);
    expect(() => DbContextModule.forRoot(options)).toThrow('flush: never. Give one of');
    expect(() => FlushOn('never' as 'commit')).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTIONS' }) as Error,
    );
  });
});
