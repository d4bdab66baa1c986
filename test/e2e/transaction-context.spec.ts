import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import { TransactionContext } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Injectable, Post } from '@nestjs/common';
import { DbContext, DbContextModule, InjectSession } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, type AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

/** A service that knows of nothing but the injected sessions. */
@Injectable()
class NoteService {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectSession('other') private readonly other: EntityManager,
  ) {}

  async write(text: string): Promise<void> {
    await this.session.insert(Note, { text });
  }

  persist(text: string): void {
    this.session.persist(new Note(text));
  }

  async writeOther(text: string): Promise<void> {
    await this.other.insert(Note, { text });
  }

  async texts(): Promise<string[]> {
    return (await this.session.find(Note, {}, { orderBy: { id: 'asc' } })).map(({ text }) => text);
  }

  async xid(of: 'session' | 'other' = 'session'): Promise<string> {
    const [row] = await this[of].execute<{ xid: string }[]>(
      `select current_database() || ' ' || pg_current_xact_id() as xid`,
    );
    return row!.xid;
  }

  /** Inserts in a savepoint of the transaction that the session is in. */
  async writeAndFail(text: string): Promise<void> {
    await this.session.transactional(async () => {
      await this.write(text);
      throw new Error('the savepoint');
    });
  }
}

@Controller()
class NoteController {
  constructor(
    private readonly notes: NoteService,
    private readonly dbContext: DbContext,
  ) {}

  @Post('write')
  async write(): Promise<unknown> {
    await this.notes.write('by the request');
    await this.dbContext.runInNewContext(() => this.notes.write('by the request, anew'));
    return {
      isInsideTransaction: TransactionContext.currentTransactionContext() !== undefined,
      xid: await this.notes.xid(),
    };
  }
}

let other: TestDatabase;

beforeAll(async () => {
  other = await createTestDatabase();
  await other.query(NOTE_SCHEMA);
});
afterAll(() => other.drop());
beforeEach(() => other.query('truncate note restart identity'));

const startWithOther = (adapter: AdapterName = 'express'): Promise<TestWorld> =>
  startWorld(
    {},
    {
      adapter,
      controllers: [NoteController],
      providers: [NoteService],
      imports: [DbContextModule.forFeature(noteConnection(other.url, { name: 'other' }))],
    },
  );
const otherTexts = async (): Promise<string[]> =>
  (await other.query<{ text: string }>('select text from note order by id')).map(
    ({ text }) => text,
  );
const xidOf = async (em: EntityManager): Promise<string> => {
  const [row] = await em.execute<{ xid: string }[]>(
    `select current_database() || ' ' || pg_current_xact_id() as xid`,
  );
  return row!.xid;
};

describe('the injected session inside of a transaction that MikroORM opened', () => {
  const shared = useWorld(() => startWithOther());
  const { run } = shared;
  let notes: NoteService;

  beforeAll(() => {
    notes = shared.world.app.get(NoteService);
  });
  afterEach(() => {
    expect(shared.world.pool('other')).toMatchObject({ checkedOut: 0, waiting: 0 });
  });

  type Transaction = (callback: (em: EntityManager) => Promise<void>) => Promise<unknown>;

  /** Transactions beside that of the context: they end by themselves. */
  const beside: [string, Transaction][] = [
    ['session.fork().transactional()', (callback) => shared.session.fork().transactional(callback)],
    [
      'orm.em.fork().transactional()',
      (callback) => shared.world.connection().orm.em.fork().transactional(callback),
    ],
    [
      'newAtomicSession() and its transactional()',
      (callback) =>
        shared.dbContext.newAtomicSession((em: EntityManager) => em.transactional(callback)),
    ],
  ];
  const all: [string, Transaction][] = [
    ...beside,
    [
      'newSession() and its transactional()',
      (callback) => shared.dbContext.newSession((em: EntityManager) => em.transactional(callback)),
    ],
    [
      'a transaction of its own within session.transactional()',
      (callback) => shared.session.transactional((em) => em.fork().transactional(callback)),
    ],
  ];

  const undo = new Error('undo the inner one');
  /** Undoes a transaction, and fails where anything else than that was thrown. */
  const undone = async (
    transaction: Transaction,
    work: Parameters<Transaction>[0],
  ): Promise<void> => {
    await expect(
      transaction(async (em) => {
        await work(em);
        throw undo;
      }),
    ).rejects.toBe(undo);
  };

  it.each(all)('C6: within %s a service is in the same transaction', async (_, transaction) => {
    await run(async () => {
      const outside = await notes.xid();
      await transaction(async (em) => {
        const inside = await xidOf(em);
        expect(inside).not.toBe(outside);
        expect(await notes.xid()).toBe(inside);
      });
      expect(await notes.xid()).toBe(outside);
    });
  });

  it.each(all)('C6: within %s a service sees its rows', async (_, transaction) => {
    await run(() =>
      undone(transaction, async (em) => {
        await em.insert(Note, { text: 'of the inner one' });
        expect(await notes.texts()).toEqual(['of the inner one']);
      }),
    );
  });

  it.each(all)('C6: what a service does within %s is undone with it', async (_, transaction) => {
    await run(async () => {
      await notes.write('of the context');
      await undone(transaction, async () => {
        await notes.write('undone');
        notes.persist('undone, too');
      });
    });
    expect(await shared.world.savedTexts()).toEqual(['of the context']);
  });

  it.each(beside)('C6: what a service does within %s stays with it', async (_, transaction) => {
    const error = new Error('the context');
    await expect(
      run(async () => {
        await notes.write('of the context');
        await transaction(async () => {
          await notes.write('kept');
          notes.persist('kept, too');
        });
        throw error;
      }),
    ).rejects.toBe(error);
    expect(await shared.world.savedTexts()).toEqual(['kept', 'kept, too']);
  });

  it.each(beside)('C6, L3: within %s the context itself begins nothing', async (_, transaction) => {
    await run(() =>
      transaction(async (em) => {
        await xidOf(em);
        await notes.write('of the inner one');
        expect(shared.world.pool().checkedOut).toBe(1);
      }),
    );
    expect(shared.world.proxy.log.filter((sql) => sql.startsWith('begin'))).toHaveLength(1);
    expect(await shared.world.savedTexts()).toEqual(['of the inner one']);
  });

  it.each(all)(
    'C6: within %s transactional() of the session is a savepoint',
    async (_, transaction) => {
      await run(() =>
        undone(transaction, async (em) => {
          await notes.write('before');
          await expect(notes.writeAndFail('undone')).rejects.toThrow('the savepoint');
          const rows = await em.find(Note, {});
          expect(rows.map(({ text }) => text)).toEqual(['before']);
        }),
      );
      expect(await shared.world.savedTexts()).toEqual([]);
    },
  );

  it.each(all)('S8: within %s run() joins', async (_, transaction) => {
    await run(() =>
      undone(transaction, async (em) => {
        const inside = await xidOf(em);
        await run(async () => {
          expect(await notes.xid()).toBe(inside);
          await notes.write('undone');
        });
      }),
    );
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it.each(all)('C3: within %s runInNewContext() starts afresh', async (_, transaction) => {
    await run(async () => {
      const outside = await notes.xid();
      await undone(transaction, async (em) => {
        const inside = await xidOf(em);
        await shared.dbContext.runInNewContext(async () => {
          const own = await notes.xid();
          expect([outside, inside]).not.toContain(own);
          await notes.write('by the new context');
        });
        expect(await notes.xid()).toBe(inside);
      });
    });
    expect(await shared.world.savedTexts()).toEqual(['by the new context']);
  });

  it.each(all)(
    'C6, M1: within %s the session of another database is its own',
    async (_, transaction) => {
      await run(async () => {
        const outside = await notes.xid('other');
        expect(outside).toContain(other.name);
        await undone(transaction, async () => {
          expect(await notes.xid('other')).toBe(outside);
          await notes.writeOther('of the context');
          await notes.write('undone');
        });
      });
      expect(await otherTexts()).toEqual(['of the context']);
      expect(await shared.world.savedTexts()).toEqual([]);
    },
  );

  it('C6: within transactions of two databases each session is in its own', async () => {
    const orm = shared.world.connection('other').orm;
    await run(() =>
      undone(beside[1]![1], async () => {
        await orm.em.fork().transactional(async (em) => {
          expect(await notes.xid('other')).toBe(await xidOf(em as EntityManager));
          await notes.writeOther('of the inner one');
        });
        await notes.write('undone');
      }),
    );
    expect(await otherTexts()).toEqual(['of the inner one']);
    expect(await shared.world.savedTexts()).toEqual([]);
  });

  it('C6: parallel branches are each in the transaction around them', async () => {
    await run(async () => {
      const outside = await notes.xid();
      const branches = await Promise.all([
        notes.xid(),
        ...[1, 2].map(async (number) => {
          let seen: string[] = [];
          await beside[1]![1](async (em) => {
            await notes.write(`by branch ${number}`);
            seen = [await xidOf(em), await notes.xid()];
          });
          return seen;
        }),
      ]);
      const [plain, first, second] = branches as [string, string[], string[]];
      expect(plain).toBe(outside);
      expect(first[0]).toBe(first[1]);
      expect(second[0]).toBe(second[1]);
      expect(new Set([outside, first[0], second[0]]).size).toBe(3);
    });
  });

  it('C3: a context that is opened within an outer transaction does not fall into it', async () => {
    await undone(beside[1]![1], async (em) => {
      const outside = await xidOf(em);
      await run(async () => {
        expect(await notes.xid()).not.toBe(outside);
        await notes.write('by the context');
        await beside[1]![1](async (inner) => {
          expect(await notes.xid()).toBe(await xidOf(inner));
        });
      });
    });
    expect(await shared.world.savedTexts()).toEqual(['by the context']);
  });
});

describe.each<AdapterName>(['express', 'fastify'])('a request over %s', (adapter) => {
  const shared = useWorld(() => startWithOther(adapter));

  it('C3, W2: does not fall into the transaction that its server was started in', async () => {
    const { app } = shared.world;
    const undo = new Error('undo the transaction of the test');
    let body: unknown;
    let outside: string | undefined;
    await expect(
      shared.world
        .connection()
        .orm.em.fork()
        .transactional(async (em) => {
          outside = await xidOf(em);
          // Its requests inherit the async scope that it was made in.
          const server = createServer((request, response) => {
            app.getHttpServer().emit('request', request, response);
          });
          server.listen(0, '127.0.0.1');
          await once(server, 'listening');
          const { port } = server.address() as AddressInfo;
          const response = await fetch(`http://127.0.0.1:${port}/write`, {
            method: 'POST',
            headers: { connection: 'close' },
          });
          body = await response.json();
          server.close();
          await once(server, 'close');
          throw undo;
        }),
    ).rejects.toBe(undo);
    expect(body).toMatchObject({ isInsideTransaction: false, xid: expect.any(String) });
    expect((body as { xid: string }).xid).not.toBe(outside);
    expect((await shared.world.savedTexts()).toSorted()).toEqual([
      'by the request',
      'by the request, anew',
    ]);
  });
});
