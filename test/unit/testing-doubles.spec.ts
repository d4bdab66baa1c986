import type { EntityManager, EntityRepository } from '@mikro-orm/postgresql';
import { Injectable, Logger } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  Atomic,
  DbContext,
  InjectRepository,
  InjectSession,
  NewDbContext,
  UnknownConnectionError,
  WithDbContext,
} from 'nestjs-db-context';
import {
  provideTestDbContext,
  provideTestRepository,
  provideTestSession,
  TestDbContext,
} from 'nestjs-db-context/testing';
import { from, lastValueFrom, map } from 'rxjs';

import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';

const calls: string[] = [];
const say = (what: string) => (): unknown => calls.push(what);
const fail = (): never => {
  throw new Error('as asked');
};

@Injectable()
class NoteService {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectSession('audit') private readonly audit: EntityManager,
    @InjectRepository(Note) private readonly notes: EntityRepository<Note>,
    private readonly dbContext: DbContext,
  ) {}

  @Atomic()
  async add(text: string): Promise<number> {
    this.session.persist(new Note(text));
    this.dbContext.onCommit(say(`mail of ${text}`));
    this.dbContext.onRollback(say(`apology for ${text}`));
    await this.trace(text);
    return this.notes.count();
  }

  @NewDbContext()
  async trace(text: string): Promise<void> {
    this.audit.persist(new Note(text));
    this.dbContext.onCommit(say(`traced ${text}`));
  }

  @WithDbContext()
  async nightly(...texts: readonly string[]): Promise<void> {
    for (const text of texts) {
      await this.add(text);
    }
  }
}

beforeEach(() => calls.splice(0));

describe('a unit test of a service, without a database', () => {
  const persisted: string[] = [];
  const session = { persist: ({ text }: Note) => persisted.push(text) };
  const audit = { persist: ({ text }: Note) => persisted.push(`audit of ${text}`) };
  let service: NoteService;
  let dbContext: TestDbContext;

  beforeEach(async () => {
    persisted.splice(0);
    const module = await Test.createTestingModule({
      providers: [
        NoteService,
        provideTestSession(session),
        provideTestSession(audit, 'audit'),
        provideTestRepository(Note, { count: () => Promise.resolve(persisted.length) }),
        provideTestDbContext(),
      ],
    }).compile();
    service = module.get(NoteService);
    dbContext = module.get(DbContext);
  });

  it('reads streams to their end, and runs their hooks', async () => {
    const read = (fails: boolean): Promise<unknown[]> =>
      dbContext
        .stream(
          async function* () {
            dbContext.onCommit(say('committed'));
            dbContext.onRollback(say('rolled back'));
            yield 'a';
            if (fails) {
              fail();
            }
          },
          { objectMode: true },
        )
        .toArray();
    expect(await read(false)).toEqual(['a']);
    await expect(read(true)).rejects.toThrow('as asked');
    expect(calls).toEqual(['committed', 'rolled back']);
  });

  it('binds functions and Observables', async () => {
    const traced = dbContext.bind((text: string) => service.trace(text));
    await traced('a');
    expect(calls).toEqual(['traced a']);
    const doubled = dbContext.bind(from([1, 2]), (values) =>
      values.pipe(map((value) => 2 * value)),
    );
    expect(await lastValueFrom(doubled)).toBe(4);
  });

  it('injects doubles, and runs decorated methods', async () => {
    expect(await service.add('a')).toBe(2);
    expect(persisted).toEqual(['a', 'audit of a']);
  });

  it('runs the hooks of a context of its own as that ends', async () => {
    await service.nightly('a', 'b');
    expect(calls).toEqual(['traced a', 'traced b', 'mail of a', 'mail of b']);
  });

  it('keeps those of the context of the test until it is settled', async () => {
    await service.add('a');
    expect(calls).toEqual(['traced a']);
    await dbContext.settle();
    expect(calls).toEqual(['traced a', 'mail of a']);
    await service.add('b');
    await dbContext.settle('rolled-back');
    expect(calls.slice(2)).toEqual(['traced b', 'apology for b']);
    await dbContext.settle();
    expect(calls).toHaveLength(4);
  });
});

describe('TestDbContext', () => {
  const session = { name: 'of default' };
  const audit = { name: 'of audit' };
  const create = (): TestDbContext => new TestDbContext({ default: session, audit });

  it('asks no application for anything: every method of DbContext is its own', () => {
    const of = (type: { readonly prototype: object }): string[] =>
      Object.getOwnPropertyNames(type.prototype);
    expect(of(TestDbContext)).toEqual(expect.arrayContaining(of(DbContext)));
    expect(create()).toBeInstanceOf(DbContext);
  });

  it('returns what callbacks return, gives them sessions, and throws what they throw', async () => {
    const dbContext = create();
    expect(dbContext.isActive()).toBe(true);
    expect(await dbContext.run(() => 1)).toBe(1);
    expect(await dbContext.runInNewContext(() => Promise.resolve(2))).toBe(2);
    expect(await dbContext.runAllInNewContexts([() => 'a', async () => 3])).toEqual(['a', 3]);
    expect(await dbContext.atomic((own) => own)).toBe(session);
    expect(await dbContext.newSession((own) => own)).toBe(session);
    expect(await dbContext.newAtomicSession((own) => own, { connection: 'audit' })).toBe(audit);
    expect(dbContext.session('audit')).toBe(audit);
    await expect(dbContext.run(fail)).rejects.toThrow('as asked');
    await expect(dbContext.runInNewContext(fail)).rejects.toThrow('as asked');
    await expect(dbContext.atomic(fail)).rejects.toThrow('as asked');
    await expect(dbContext.newSession(fail)).rejects.toThrow('as asked');
    await expect(dbContext.runAllInNewContexts([fail])).rejects.toThrow('as asked');
  });

  it('knows the sessions that it was given, by name', async () => {
    const dbContext = new TestDbContext({ audit });
    expect(dbContext.getSession()).toBeUndefined();
    expect(() => dbContext.session()).toThrow(UnknownConnectionError);
    expect(() => dbContext.session()).toThrow('(declared: "audit")');
    await expect(dbContext.newSession(() => 1)).rejects.toThrow('was not given');
    dbContext.putSession(session as unknown as EntityManager);
    expect(dbContext.session()).toBe(session);
    expect(dbContext.popSession()).toBe(session);
    expect(dbContext.getSession()).toBeUndefined();
  });

  it('runs the hooks of what succeeded or failed, in order', async () => {
    const dbContext = create();
    const work = (end: () => unknown) => async (): Promise<unknown> => {
      dbContext.onRollback(say('undone'));
      dbContext.onCommit(say('done'));
      dbContext.beforeCommit(say('before'));
      return end();
    };
    await dbContext.run(work(say('work')));
    await dbContext.run(work(fail)).catch(say('thrown'));
    await dbContext.run(work(say('work')), { commitOn: () => false });
    expect(calls).toEqual(['work', 'before', 'done', 'undone', 'thrown', 'work', 'undone']);
  });

  it('lets a hook veto the commit', async () => {
    const dbContext = create();
    const vetoed = dbContext.run(() => {
      dbContext.beforeCommit(fail);
      dbContext.onCommit(say('done'));
      dbContext.onRollback(say('undone'));
    });
    await expect(vetoed).rejects.toThrow('as asked');
    expect(calls).toEqual(['undone']);
  });

  it('reports what a hook throws, and goes on', async () => {
    const recorder = new LogRecorder();
    Logger.overrideLogger(recorder);
    const dbContext = create();
    await dbContext.run(() => {
      dbContext.onCommit(fail);
      dbContext.onCommit(say('done'));
    });
    expect(calls).toEqual(['done']);
    expect(recorder.lines).toMatchObject([{ level: 'error' }]);
    Logger.overrideLogger(true);
  });

  it('lets hooks register further ones, each for the context that it runs in', async () => {
    const dbContext = create();
    await dbContext.run(() => {
      dbContext.beforeCommit(() => dbContext.onCommit(say('by a veto that was none')));
      dbContext.onCommit(() => {
        calls.push('hook');
        dbContext.onCommit(say('of the hook'));
      });
    });
    expect(calls).toEqual(['hook', 'of the hook', 'by a veto that was none']);
  });

  it('joins with run(), and begins anew with runInNewContext()', async () => {
    const dbContext = create();
    const hook = (what: string) => (): void => dbContext.onCommit(say(what));
    await dbContext
      .run(async () => {
        await dbContext.run(hook('joined'));
        await dbContext.runInNewContext(hook('new'));
        fail();
      })
      .catch(say('thrown'));
    expect(calls).toEqual(['new', 'thrown']);
  });

  it('discards the hooks of a block that failed, and keeps those around it', async () => {
    const dbContext = create();
    await dbContext.run(async () => {
      dbContext.onCommit(say('outer'));
      await dbContext
        .atomic(() => {
          dbContext.onCommit(say('never'));
          dbContext.onRollback(say('block undone'));
          fail();
        })
        .catch(say('thrown'));
    });
    expect(calls).toEqual(['block undone', 'thrown', 'outer']);
  });

  it('runs hooks of one connection at its early commit, and none after an early rollback', async () => {
    const dbContext = create();
    await dbContext.run(async () => {
      dbContext.onCommit(say('audited'), { connection: 'audit' });
      dbContext.onCommit(say('at the end'));
      await dbContext.commit();
      await dbContext.commit('audit');
      calls.push('committed');
      dbContext.onCommit(say('of default'), { connection: 'default' });
      await dbContext.commitAll();
    });
    expect(calls).toEqual(['audited', 'committed', 'of default', 'at the end']);
    for (const verb of ['rollback', 'close', 'rollbackAll', 'closeAll'] as const) {
      calls.splice(0);
      await dbContext.run(async () => {
        dbContext.onCommit(say('never'));
        dbContext.onRollback(say('undone'));
        await dbContext[verb]();
      });
      expect(calls).toEqual(['undone']);
    }
  });

  it('runs again what was to be retried', async () => {
    const dbContext = create();
    let attempts = 0;
    const flaky = (): number => {
      dbContext.onCommit(say('done'));
      attempts += 1;
      if (attempts < 3) {
        throw Object.assign(new Error('serialization failure'), { code: '40001' });
      }
      return attempts;
    };
    expect(await dbContext.runInNewContext(flaky, { retry: { attempts: 3 } })).toBe(3);
    attempts = 0;
    await expect(dbContext.atomic(flaky, { retry: { attempts: 2 } })).rejects.toThrow('failure');
    expect(calls).toEqual(['done']);
  });
});
