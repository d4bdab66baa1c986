import { randomUUID } from 'node:crypto';

import type { EntityManager } from '@mikro-orm/postgresql';
import { InvalidTransactionStateError, TransactionAbortedError } from 'nestjs-db-context';

import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

/** DO and its like are reset before the connection is given back, for which nobody waits (F7). */
const WITH_RESETS = { hasLateWork: true };

/** Sends one text of SQL through a public way past the unit of work. */
type Send = (em: EntityManager, text: string) => Promise<unknown>;

const ways: readonly (readonly [string, Send])[] = [
  ['em.execute()', (em, text) => em.execute(text)],
  [
    'em.getConnection().execute()',
    (em, text) => em.getConnection().execute(text, [], 'all', em.getTransactionContext()),
  ],
  [
    'em.getKysely()',
    (em, text) =>
      em.getKysely().executeQuery({
        sql: text,
        parameters: [],
        query: { kind: 'RawNode', sqlFragments: [text], parameters: [] },
        queryId: { queryId: randomUUID() },
      }),
  ],
];

/** A text that ends the transaction, and whether the work before it is then saved. */
const ends: readonly (readonly [text: string, isSaved: boolean])[] = [
  ['commit', true],
  ['end', true],
  ['rollback', false],
  ['abort', false],
  ['commit and chain', true],
  ['END TRANSACTION AND CHAIN', true],
  ['rollback and chain', false],
  ['abort work and chain', false],
  ['commit; begin', true],
  ['rollback; begin', false],
  ['end; start transaction', true],
  ['abort; start transaction read only', false],
  ['select 1; commit and chain; select 2', true],
  ['rollback /* to savepoint x */ and chain', false],
  ['rollback -- to savepoint x\n and chain', false],
  ["select 'rollback to savepoint x'; rollback; begin", false],
  ['select 1 as "rollback to savepoint x"; rollback; begin', false],
  ['rollback; begin; savepoint x; rollback to savepoint x', false],
  ['savepoint x; rollback to savepoint x; rollback and chain', false],
  ['savepoint x; rollback to savepoint x; commit; begin', true],
  ['do $$ begin perform 1; end $$; rollback; begin', false],
];

describe('SQL of the application that ends the transaction', () => {
  const at = useWorld(startWorld, WITH_RESETS);

  const texts = ways.flatMap(([way, send]) =>
    ends.map(([text, isSaved]) => [text, way, send, isSaved] as const),
  );

  it.each(texts)('F4: %j by %s after other work is found out', async (text, _, send, isSaved) => {
    const request = at.run(async () => {
      await at.insert('before');
      await send(at.session, text);
    });
    await expect(request).rejects.toMatchObject({
      constructor: InvalidTransactionStateError,
      code: 'INVALID_TRANSACTION_STATE',
      connectionName: 'default',
      message: expect.stringMatching(/a plain (COMMIT|ROLLBACK) statement/),
    });
    expect(await at.world.savedTexts()).toEqual(isSaved ? ['before'] : []);
  });

  it.each(ends)('F4: %j as the first statement is found out', async (text) => {
    const request = at.run(() => at.session.execute(text));
    await expect(request).rejects.toMatchObject({
      constructor: InvalidTransactionStateError,
      code: 'INVALID_TRANSACTION_STATE',
    });
  });

  it.each(ends)('F4: no statement after %j is sent', async (text, isSaved) => {
    const request = at.run(async () => {
      await at.insert('before');
      await at.session.execute(text);
      await expect(at.insert('after')).rejects.toMatchObject({
        constructor: TransactionAbortedError,
        code: 'TRANSACTION_ABORTED',
        cause: expect.any(InvalidTransactionStateError),
      });
    });
    await expect(request).rejects.toMatchObject({ code: 'INVALID_TRANSACTION_STATE' });
    expect(at.world.proxy.log.filter((sql) => sql.includes('after'))).toEqual([]);
    expect(await at.world.savedTexts()).toEqual(isSaved ? ['before'] : []);
  });

  it.each([
    ["insert into note (text) values ('by hand'); commit; begin", ['by hand']],
    ["insert into note (text) values ('by hand'); rollback; begin", []],
    [
      "insert into note (text) values ('a'); commit; begin; insert into note (text) values ('b')",
      ['a'],
    ],
  ])('F4: %j keeps what its own COMMIT saved, and the commit is refused', async (text, saved) => {
    const request = at.run(async () => {
      await at.session.execute(text);
      await expect(at.insert('after')).rejects.toMatchObject({
        constructor: TransactionAbortedError,
        cause: expect.any(InvalidTransactionStateError),
      });
    });
    await expect(request).rejects.toMatchObject({ code: 'INVALID_TRANSACTION_STATE' });
    expect(await at.world.savedTexts()).toEqual(saved);
  });

  it.each(['commit', 'rollback and chain', 'commit; begin'])(
    'F4: session.commit() after %j is refused',
    async (text) => {
      const request = at.run(async () => {
        await at.session.execute(text);
        await at.session.commit();
      });
      await expect(request).rejects.toMatchObject({
        constructor: InvalidTransactionStateError,
        code: 'INVALID_TRANSACTION_STATE',
      });
    },
  );

  it.each(['rollback', 'rollback and chain', 'rollback; begin'])(
    'F4, C1: session.rollback() after %j lets new work be done',
    async (text) => {
      await at.run(async () => {
        await at.insert('before');
        await at.session.execute(text);
        await at.session.rollback();
        await at.insert('new');
      });
      expect(await at.world.savedTexts()).toEqual(['new']);
    },
  );

  it.each(['rollback and chain', 'rollback; begin', 'commit and chain', 'commit; begin'])(
    'F4, C6: %j inside of em.transactional() is found out, also where the error is swallowed',
    async (text) => {
      const request = at.run(async () => {
        await at.session.transactional((em) => em.execute(text)).catch(() => undefined);
      });
      await expect(request).rejects.toMatchObject({
        constructor: InvalidTransactionStateError,
        code: 'INVALID_TRANSACTION_STATE',
      });
    },
  );

  const blocks: readonly (readonly [string, (text: string) => Promise<unknown>])[] = [
    [
      'atomic()',
      (text) => at.run(() => at.dbContext.atomic((em: EntityManager) => em.execute(text))),
    ],
    [
      'newAtomicSession()',
      (text) => at.dbContext.newAtomicSession((em: EntityManager) => em.execute(text)),
    ],
    ['runInNewContext()', (text) => at.dbContext.runInNewContext(() => at.session.execute(text))],
    [
      'propagation "requires_new"',
      (text) =>
        at.run(() =>
          at.session.transactional((em) => em.execute(text), { propagation: 'requires_new' }),
        ),
    ],
    [
      'the transaction of a fork',
      (text) => at.run(() => at.session.fork().transactional((em) => em.execute(text))),
    ],
  ];
  it.each(
    blocks.flatMap(([block, run]) =>
      ['commit', 'rollback and chain', 'commit; begin'].map((text) => [text, block, run] as const),
    ),
  )('F4, C3: %j inside of %s is found out', async (text, _, run) => {
    await expect(run(text)).rejects.toMatchObject({
      constructor: InvalidTransactionStateError,
      code: 'INVALID_TRANSACTION_STATE',
    });
  });
});

describe('SQL of the application that keeps the transaction open', () => {
  const at = useWorld(startWorld, WITH_RESETS);

  it.each([
    'rollback to savepoint x',
    'rollback to x',
    'ROLLBACK TO SAVEPOINT x',
    'rollback work to x',
    'rollback transaction to savepoint x',
    '/* undo */ rollback /* the rest */ to x',
    '-- commit\nrollback to savepoint x',
    '/* a /* rollback; begin */ commit; */ rollback to x',
    'rollback to x; release savepoint x',
    'rollback to x; rollback to x',
    'savepoint y; rollback to y; rollback to x',
    'savepoint "commit"; rollback to "commit"; rollback to x',
    'savepoint "rollback"; rollback to savepoint "rollback"; rollback to x',
    "select 'commit; begin'; rollback to x",
    "select 'it''s; rollback;'; rollback to x",
    "select E'it\\'s; rollback and chain'; rollback to x",
    'select 1 as "commit; begin"; rollback to x',
    'select 1 as "a ""b""; rollback"; rollback to x',
    'select $$ rollback; begin $$; rollback to x',
    'select $commit$ commit; $$ rollback; $commit$; rollback to x',
    "do $body$ begin perform 'commit'; /* rollback */ end $body$; rollback to x",
    'select 1;; rollback to x;',
  ])('F4: %j', async (text) => {
    await at.run(async () => {
      await at.insert('before');
      await at.session.execute('savepoint x');
      await at.insert('undone');
      await at.session.execute(text);
      await at.insert('after');
    });
    expect(await at.world.savedTexts()).toEqual(['before', 'after']);
  });

  it.each(ways)('F4: a savepoint of its own by %s', async (_, send) => {
    await at.run(async () => {
      await send(at.session, 'savepoint x');
      await send(at.session, "insert into note (text) values ('undone')");
      await send(
        at.session,
        "rollback to savepoint x; insert into note (text) values ('commit; rollback')",
      );
    });
    expect(await at.world.savedTexts()).toEqual(['commit; rollback']);
  });

  it('F4: a savepoint of its own that undoes a failed statement', async () => {
    await at.run(async () => {
      await at.insert('before');
      await at.session.execute('savepoint x');
      await expect(at.session.execute('select 1 / 0')).rejects.toMatchObject({ code: '22012' });
      await at.session.execute('rollback to savepoint x');
      await at.insert('after');
    });
    expect(await at.world.savedTexts()).toEqual(['before', 'after']);
  });

  it('F4: a first statement that sets a savepoint and undoes it', async () => {
    await at.run(async () => {
      await at.session.execute(
        "savepoint x; insert into note (text) values ('undone'); rollback to savepoint x; select 'commit'",
      );
      await at.insert('after');
    });
    expect(await at.world.savedTexts()).toEqual(['after']);
  });
});

const ROLE = `role_${randomUUID().replaceAll('-', '')}`;

describe('the settings of row-level security', () => {
  const at = useWorld(async () => {
    const started = await startWorld({
      role: ROLE,
      sessionVariables: () => ({ 'app.tenant': 'one' }),
    });
    await started.database.query(`create role ${ROLE}`);
    await started.database.query(`grant all on note, note_id_seq to ${ROLE}`);
    return {
      ...started,
      close: async () => {
        await started.database.query(`drop owned by ${ROLE}`);
        await started.database.query(`drop role ${ROLE}`);
        await started.close();
      },
    };
  });

  it.each([
    'commit and chain',
    'rollback and chain',
    'commit; begin',
    'rollback; begin',
    'savepoint x; commit and chain; savepoint x; rollback to savepoint x',
  ])('C7, F3: %j ends them, and no statement runs without them', async (text) => {
    const settings = `select current_user::text as role, current_setting('app.tenant', true) as tenant`;
    const request = at.run(async () => {
      expect(await at.session.execute(settings)).toEqual([{ role: ROLE, tenant: 'one' }]);
      await at.session.execute(text);
      at.world.proxy.reset();
      await expect(at.session.execute(settings)).rejects.toMatchObject({
        constructor: TransactionAbortedError,
        cause: expect.any(InvalidTransactionStateError),
      });
    });
    await expect(request).rejects.toMatchObject({ code: 'INVALID_TRANSACTION_STATE' });
    expect(at.world.proxy.log.filter((sql) => sql.includes('app.tenant'))).toEqual([]);
  });
});

describe('a first statement that ends the transaction and then fails', () => {
  const at = useWorld(startWorld, WITH_RESETS);
  /** Each time that it runs, it makes one more row. */
  const row = "insert into note (text) select 'row ' || count(*) from note";

  /** How often a text has left the application, alone or behind BEGIN. */
  const timesSent = (text: string): number =>
    at.world.proxy.messages.filter((message) => message.includes(text)).length;

  it.each([
    [`${row}; commit; select 1 / 0`, '22012', ['row 0']],
    [`${row}; commit; select * from nowhere`, '42P01', ['row 0']],
    [`${row}; end; begin; select 1 / 0`, '22012', ['row 0']],
    [`${row}; rollback; select 1 / 0`, '22012', []],
    [`${row}; abort; select * from nowhere`, '42P01', []],
  ])('F4: %j is sent once, and says that what it did may stand', async (text, code, saved) => {
    await expect(at.run(() => at.session.execute(text))).rejects.toMatchObject({
      code: 'INVALID_TRANSACTION_STATE',
      message: expect.stringContaining('what it did before its failure may stand'),
      cause: { code },
    });
    expect(await at.world.savedTexts()).toEqual(saved);
    expect(timesSent(text)).toBe(1);
  });

  it('F4: forbids the commit also where its error is swallowed', async () => {
    const text = `${row}; commit; select 1 / 0`;
    const request = at.run(async () => {
      await at.session.execute(text).catch(() => undefined);
      await expect(at.insert('after')).rejects.toMatchObject({ code: 'TRANSACTION_ABORTED' });
    });
    await expect(request).rejects.toMatchObject({
      code: expect.stringMatching(/^(UNEXPECTED_ROLLBACK|INVALID_TRANSACTION_STATE)$/),
    });
    expect(timesSent(text)).toBe(1);
    expect(await at.world.savedTexts()).toEqual(['row 0']);
  });

  it('F4: one that cannot be parsed is sent again, by itself: not even BEGIN was answered', async () => {
    const text = `${row}; commit; selec 1`;
    await expect(at.run(() => at.session.execute(text))).rejects.toMatchObject({
      code: 'INVALID_TRANSACTION_STATE',
      cause: { code: '42601' },
    });
    expect(at.world.proxy.messages.filter((message) => message.includes(text))).toEqual([
      `begin;${text}`,
      text,
    ]);
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it.each([
    ['select 1, nothing', '42703'],
    ['select 1 / 0', '22012'],
  ])('F4: %j, which fails after BEGIN was answered, is sent once', async (text, code) => {
    await expect(at.run(() => at.session.execute(text))).rejects.toMatchObject({ code });
    expect(timesSent(text)).toBe(1);
  });
});
