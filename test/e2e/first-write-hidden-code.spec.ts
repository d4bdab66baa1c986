import { createTestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

const FIRST_WRITE = { transaction: { begin: 'first-write' } } as const;
const READ = /^begin isolation level read committed read only;[\s\S]*;commit$/;
const BEGIN = 'begin isolation level read committed';
/** Asks the catalogue for what may run code. */
const QUESTION = /pg_catalog\.pg_operator/;

/** What sets something or locks, where the text of a read does not show it. */
const HIDDEN = `
  create view setting_view as select set_config('app.seen', 'yes', true) as x;
  create view locking_view as select pg_advisory_xact_lock(7)::text as x;
  create view "Outer ""View""" as select * from setting_view;

  create function set_seen() returns text language sql as
    $$ select set_config('app.seen', 'yes', true) $$;
  create function title(note) returns text language sql as $$ select set_seen() $$;
  create function lower(note) returns text language sql as $$ select set_seen() $$;
  create function set_and_compare(text, text) returns boolean language sql as
    $$ select set_seen() = $1 $$;
  create operator === (leftarg = text, rightarg = text, function = set_and_compare);

  create materialized view kept as select 1 as x;
  create table parted (id int) partition by range (id);
  create view of_extension as select 1 as x;
  create function replace(int, text, text) returns text language sql as $$ select $2 $$;
  alter extension plpgsql add view of_extension;
  alter extension plpgsql add function replace(int, text, text);
`;

describe('begin: first-write, where code hides behind a name', () => {
  const at = useWorld(() => startWorld(FIRST_WRITE));
  const seen = async (): Promise<string | null> => {
    const [row] = await at.session.execute<{ seen: string | null }[]>(
      `select current_setting('app.seen', true) as seen`,
    );
    return row!.seen;
  };
  beforeAll(() => at.world.database.query(HIDDEN));

  it.each([
    ['a view', 'select * from setting_view'],
    ['a view of a view', 'select * from "Outer ""View"""'],
    ['a view in a subquery', 'select (select x from public.setting_view) as x'],
    ['a function that is written as a column', 'select n.title from note n'],
    ['the same in quotes', 'select "n"."title" from "note" as "n"'],
    ['a function with the name of one that is known', 'select lower(n) from note n'],
    ['an operator', `select text === 'a' from note`],
  ])('C7: what %s sets is there for the rest of the transaction', async (_, sql) => {
    await at.world.database.query("insert into note (text) values ('a')");
    await at.run(async () => {
      await at.session.execute(sql);
      expect(at.world.proxy.messages).not.toContainEqual(expect.stringMatching(READ));
      expect(await seen()).toBe('yes');
    });
  });

  it.each([
    ['a view', 'select * from locking_view'],
    ['a function of PostgreSQL that is written as a column', 'select (7).pg_advisory_xact_lock'],
  ])('C7: a lock that %s takes is held until the end', async (_, sql) => {
    const locks = (): Promise<unknown[]> =>
      at.world.database.query(
        `select from pg_locks l join pg_database d on d.oid = l.database
         where locktype = 'advisory' and datname = current_database()`,
      );
    await at.run(async () => {
      await at.session.execute(sql);
      expect(await locks()).toHaveLength(1);
    });
    expect(await locks()).toHaveLength(0);
  });

  it.each([
    'select * from note',
    'select "n0"."text" from "note" as "n0" where "n0"."id" = 1 and upper("text") <= \'a\'',
    'select * from kept',
    'select * from parted',
    'select * from pg_catalog.pg_views where false',
    `select replace(text, 'b', 'c') from note, of_extension`,
  ])('L3: a plain read of tables holds no connection: %s', async (sql) => {
    await at.run(() => at.session.find(Note, {}));
    at.world.proxy.reset();
    await at.run(async () => {
      await at.session.execute(sql);
      expect(at.world.pool()).toMatchObject({ checkedOut: 0 });
    });
    expect([...at.world.proxy.messages]).toEqual([expect.stringMatching(READ)]);
  });
});

describe('begin: first-write, and the catalogue', () => {
  it('L3: is asked once for each server, with the first plain read', async () => {
    const world = await startWorld(FIRST_WRITE);
    const other = await createTestDatabase();
    try {
      await other.query(NOTE_SCHEMA);
      await world.dbContext.run(() => world.session().count(Note));
      expect([...world.proxy.messages]).toEqual([
        expect.stringMatching(QUESTION),
        expect.stringMatching(READ),
      ]);
      expect(world.proxy.roundTrips).toBe(2);
      world.proxy.reset();
      await world.dbContext.run(() => world.session().count(Note));
      expect([...world.proxy.messages]).toEqual([expect.stringMatching(READ)]);
      expect(world.proxy.roundTrips).toBe(1);

      // The other server is another database here, which has a view that the first has not.
      await other.query("create view hidden as select set_config('app.seen', 'yes', true) as x");
      const { port } = new URL(world.proxy.url);
      const url = new URL(other.url);
      await world.connection().changeHost(`postgres://localhost:${port}${url.pathname}`);
      world.proxy.reset();
      await world.dbContext.run(() => world.session().execute('select * from hidden'));
      expect([...world.proxy.messages]).toEqual([
        expect.stringMatching(QUESTION),
        expect.stringMatching(/^begin isolation level read committed;select/),
        'commit',
      ]);
    } finally {
      await world.close();
      await other.drop();
    }
  });

  it('C7: is waited for by reads that came before its answer', async () => {
    const world = await startWorld({ ...FIRST_WRITE, poolMax: 1 });
    try {
      await world.database.query("create view hidden as select set_config('a.b', 'c', true) as x");
      await Promise.all(
        Array.from({ length: 5 }, () =>
          world.dbContext.run(() => world.session().execute('select * from hidden')),
        ),
      );
      expect(world.proxy.messages.filter((each) => QUESTION.test(each))).toHaveLength(1);
      expect(world.proxy.messages).not.toContainEqual(expect.stringMatching(READ));
    } finally {
      await world.close();
    }
  });

  it('L3: is never asked where no transaction begins with the first write', async () => {
    const world = await startWorld();
    try {
      await world.dbContext.run(() => world.session().count(Note));
      expect(world.proxy.roundTrips).toBe(2);
      expect(world.proxy.messages).not.toContainEqual(expect.stringMatching(QUESTION));
    } finally {
      await world.close();
    }
  });

  it.each(['cut', 'drop-answer'] as const)(
    'F1: a question whose link fails (%s) costs no slot and no read',
    async (fate) => {
      const world = await startWorld(FIRST_WRITE);
      try {
        world.proxy.arm(fate, QUESTION);
        await world.dbContext.run(async () => {
          expect(await world.session().count(Note)).toBe(0);
          expect(world.proxy.log).toContain(BEGIN);
        });
        expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
        world.proxy.reset();
        await world.dbContext.run(() => world.session().count(Note));
        expect([...world.proxy.messages]).toEqual([
          expect.stringMatching(QUESTION),
          expect.stringMatching(READ),
        ]);
      } finally {
        await world.close();
      }
    },
  );
});
