import { LockMode, raw, TransactionPropagation } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { sql } from 'kysely';
import { StreamRefusedError, type StreamRefusalReason } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

interface Tables {
  note: { id: number; text: string };
}

/** More than the rows of one FETCH, whose number Kysely and MikroORM take to be 100. */
const ROWS = 1_000;

type Stream = (em: EntityManager) => AsyncIterable<unknown>;

/** A stream of SQL as it stands, by Kysely. */
function ofSql(text: string): Stream {
  return async function* read(em) {
    const kysely = em.getKysely<Tables>();
    for await (const { rows } of kysely.getExecutor().stream(sql.raw(text).compile(kysely), 100)) {
      yield* rows;
    }
  };
}

const STREAMS: readonly (readonly [string, Stream])[] = [
  ['a value', (em) => em.stream(Note, { where: { text: { $ne: 'delete' } } })],
  [
    'a value with quotes',
    (em) => em.stream(Note, { where: { text: { $ne: `it's \\ into "x"` } } }),
  ],
  ['a name', (em) => em.qb(Note).select(raw('text as "update"')).stream({ rawResults: true })],
  ['a column', (em) => em.qb(Note).select(raw('text as merge')).stream({ rawResults: true })],
  ['a row lock', (em) => em.qb(Note).setLockMode(LockMode.PESSIMISTIC_WRITE).stream()],
  [
    'a parameter of Kysely',
    (em) =>
      em.getKysely<Tables>().selectFrom('note').selectAll().where('text', '!=', 'merge').stream(),
  ],
  ['a comment', ofSql('/* into /* nested */ */ select -- delete\n * from note')],
  ['text between dollar signs', ofSql('select *, $$ insert into $$ from note')],
  ['a WITH', ofSql('with "delete" as (select * from note) select * from "delete"')],
  ['parentheses', ofSql(`(select id, 'update' from note) union all (select 0, 'x' where false);`)],
];

const REFUSED: readonly (readonly [string, Stream, StreamRefusalReason])[] = [
  [
    'UPDATE ... RETURNING',
    (em) => em.getKysely<Tables>().updateTable('note').set({ text: 'x' }).returningAll().stream(),
    'no-query',
  ],
  ['SHOW', ofSql('show all'), 'no-query'],
  ['SELECT INTO', ofSql('select * into other from note'), 'writes'],
  [
    'a WITH that writes',
    ofSql('with gone as (delete from note returning *) select * from gone'),
    'writes',
  ],
  ['two statements', ofSql('select 1; delete from note'), 'several-statements'],
];

describe('a stream', () => {
  const at = useWorld(() => startWorld());
  const sent = (verb: string): number =>
    at.world.proxy.log.filter((each) => each.startsWith(verb)).length;
  const fill = (): Promise<unknown> =>
    at.world.database.query(
      `insert into note (text) select 'n' || i from generate_series(1, ${ROWS}) i`,
    );

  it.each(STREAMS)(
    'L3: leaves on the server what is not read yet, where %s looks like a write',
    async (_, stream) => {
      await fill();
      await at.run(async () => {
        const rows: unknown[] = [];
        for await (const row of stream(at.session)) {
          rows.push(row);
          // Each FETCH brings 100 rows, so this is how many rows have come for those that were read.
          expect(sent('fetch forward 100')).toBe(Math.ceil(rows.length / 100));
        }
        expect(rows).toHaveLength(ROWS);
        expect(sent('close')).toBe(1);
      });
    },
  );

  it.each(REFUSED)('is refused for %s, and nothing of it is sent', async (_, stream, reason) => {
    await fill();
    await at.run(async () => {
      await at.insert('saved');
      at.world.proxy.reset();
      const reading = (async () => {
        for await (const row of stream(at.session)) {
          throw new Error(`a row was read: ${JSON.stringify(row)}`);
        }
      })();
      await expect(reading).rejects.toMatchObject({
        constructor: StreamRefusedError,
        code: 'STREAM_REFUSED',
        connectionName: 'default',
        reason,
        message: expect.stringContaining('all of its rows would be in memory at once'),
      });
      expect(at.world.proxy.log).toEqual([]);
    });
    expect((await at.world.savedTexts()).slice(-2)).toEqual([`n${ROWS}`, 'saved']);
  });

  describe('outside of a transaction', () => {
    const alone = <T>(work: (em: EntityManager) => Promise<T>): Promise<T> =>
      at.run(() =>
        at.session.transactional((em) => work(em), {
          propagation: TransactionPropagation.NOT_SUPPORTED,
        }),
      );

    it('leaves on the server what is not read yet, where a value looks like a write', async () => {
      await fill();
      await alone(async (em) => {
        const notes: Note[] = [];
        for await (const note of em.stream(Note, { where: { text: { $ne: 'delete' } } })) {
          notes.push(note);
          expect(sent('fetch forward 100')).toBe(Math.ceil(notes.length / 100));
        }
        expect(notes).toHaveLength(ROWS);
      });
    });

    it.each([
      ...REFUSED,
      ['a row lock', ofSql('select * from note for no key update'), 'locks-rows'],
    ] as const)('W3: is refused for %s, and costs no connection', async (_, stream, reason) => {
      await fill();
      await alone(async (em) => {
        await expect(stream(em)[Symbol.asyncIterator]().next()).rejects.toMatchObject({
          constructor: StreamRefusedError,
          reason,
        });
        expect(at.world.pool()).toMatchObject({ checkedOut: 0 });
      });
      expect(at.world.proxy.log).toEqual([]);
      expect(await at.world.savedTexts()).toHaveLength(ROWS);
    });
  });
});
