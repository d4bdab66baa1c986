import type { EntityManager } from '@mikro-orm/postgresql';
import { TransactionAbortedError, UnexpectedRollbackError } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';
import { noteConnection, startApp } from '../support/test-app.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

/** What left the application, message by message. */
const messagesOf = (at: ReturnType<typeof useWorld>): string[] => [...at.world.proxy.messages];

describe('BEGIN and the first statement', () => {
  const at = useWorld();
  const roundTrips = async (work: () => Promise<unknown>): Promise<number> => {
    // A connection of its own would ask for more.
    await at.run(() => at.session.execute('select 1'));
    at.world.proxy.reset();
    await at.run(work);
    return at.world.proxy.roundTrips;
  };

  it('leave in one message: a read takes 2 round trips, an insert 2, read-modify-write 3', async () => {
    expect(await roundTrips(async () => undefined)).toBe(0);
    expect(await roundTrips(() => at.session.find(Note, {}))).toBe(2);
    expect(messagesOf(at)).toEqual([expect.stringMatching(/^begin;select/), 'commit']);
    expect(await roundTrips(async () => at.session.persist(new Note('a')))).toBe(2);
    expect(
      await roundTrips(async () => {
        const note = await at.session.findOneOrFail(Note, { text: 'a' });
        note.text = 'b';
      }),
    ).toBe(3);
    expect(await at.world.savedTexts()).toEqual(['b']);
  });

  it('are two messages where the statement has parameters of its own', async () => {
    await at.run(async () => {
      const rows = await at.session
        .getKysely()
        .selectFrom('note' as never)
        .selectAll()
        .where('text' as never, '=', 'x' as never)
        .execute();
      expect(rows).toEqual([]);
    });
    expect(at.world.proxy.log[0]).toBe('begin');
    expect(messagesOf(at)).toHaveLength(3);
  });

  it('a text of several statements has their answers', async () => {
    await at.run(async () => {
      await at.session.execute('select 1 as a; select 2 as b');
      await at.insert('saved');
    });
    expect(await at.world.savedTexts()).toEqual(['saved']);
    await at.run(() => at.session.execute(''));
  });

  it.each([
    ['cannot be parsed', 'selec 1', '42601', '1'],
    ['names what there is not', 'select 1, nothing', '42703', '11'],
    ['fails as it runs', 'select 1 / 0', '22012', undefined],
  ])(
    'F4: a first one that %s aborts the transaction, as by itself',
    async (_, sql, code, position) => {
      const second = await at
        .run(async () => {
          const first: unknown = await at.session.execute(sql).catch((error: unknown) => error);
          expect(first).toMatchObject({ code });
          expect((first as { position?: string }).position).toBe(position);
          return at.insert('never').catch((error: unknown) => error);
        })
        .catch((error: unknown) => error);
      expect(second).toBeInstanceOf(UnexpectedRollbackError);
      expect((second as Error).cause).toMatchObject({ code });
      expect(at.world.proxy.log.at(-1)).toBe('rollback');
      expect(await at.world.savedTexts()).toEqual([]);
    },
  );

  it('F4: a first one that cannot be parsed leaves the next ones refused', async () => {
    await at
      .run(async () => {
        await at.session.execute('selec 1').catch(() => undefined);
        await expect(at.insert('never')).rejects.toMatchObject({
          constructor: TransactionAbortedError,
          cause: { code: '42601' },
        });
      })
      .catch(() => undefined);
    expect(messagesOf(at).slice(0, 4)).toEqual([
      'begin;selec 1',
      'begin',
      'selec 1',
      expect.stringContaining('never'),
    ]);
  });

  it('F4: a first one that fails throws its own error, every time', async () => {
    for (let each = 0; each < 30; each++) {
      await expect(at.run(() => at.session.execute('select 1 / 0'))).rejects.toMatchObject({
        code: '22012',
      });
    }
  });

  it('F5: parallel first statements begin once, and each has its own answer', async () => {
    const answers = await at.run(() =>
      Promise.all([1, 2, 3].map((n) => at.session.execute(`select ${n} as n`))),
    );
    expect(answers).toEqual([[{ n: 1 }], [{ n: 2 }], [{ n: 3 }]]);
    expect(messagesOf(at)).toEqual([
      'begin;select 1 as n',
      'select 2 as n',
      'select 3 as n',
      'commit',
    ]);
  });

  it('F3: a plain COMMIT as the first statement is found out', async () => {
    await expect(at.run(() => at.session.execute('commit'))).rejects.toMatchObject({
      code: 'INVALID_TRANSACTION_STATE',
    });
  });

  it('are two messages where a subscriber has to be called in between', async () => {
    const order: string[] = [];
    const connection = noteConnection(at.world.proxy.url);
    const app = await startApp({
      connections: [
        {
          ...connection,
          subscribers: [
            {
              afterTransactionStart: async ({ em }: { em: EntityManager }) => {
                order.push('called');
                await em.execute('select 1 as called');
              },
            },
          ],
        } as typeof connection,
      ],
    });
    at.world.proxy.reset();
    await app.dbContext.run(() => app.session().execute('select 2'));
    expect(at.world.proxy.log).toEqual(['begin', 'select 1 as called', 'select 2', 'commit']);
    expect(order).toEqual(['called']);
    await app.close();
  });
});

describe('settings in the first message', () => {
  const nasty = `it's "quoted"; \\ and $1 -- not\n'; drop table note; --`;
  const at = useWorld(() =>
    startWorld({
      transaction: { statementTimeoutMs: 400, isolationLevel: 'repeatable read' },
      sessionVariables: () => ({ 'app.nasty': nasty }),
    }),
  );

  it('C7: leave with it, as literals', async () => {
    await at.run(async () => {
      const [row] = await at.session.execute<{ value: string; level: string }[]>(
        `select current_setting('app.nasty') as value, current_setting('transaction_isolation') as level`,
      );
      expect(row).toEqual({ value: nasty, level: 'repeatable read' });
    });
    expect(at.world.proxy.roundTrips).toBe(2);
  });

  it('C7: hold for the very statement that they left with', async () => {
    await expect(at.run(() => at.session.execute('select pg_sleep(5)'))).rejects.toMatchObject({
      code: '57014',
    });
  });
});
