/**
 * Random programs of parallel branches on one entity manager, against plain MikroORM, where the same
 * branches run one after another: the rows have to be the same. No two steps work on the same row,
 * so that the order of the branches makes no difference.
 *
 * ```sh
 * DB_CONTEXT_PROPERTY_RUNS=3000 npm test -- test/property/branches --coverage=false
 * ```
 *
 * That runs a new seed, an ordinary run a fixed one; `DB_CONTEXT_PROPERTY_SEED=<seed>` runs the
 * programs of a failure again.
 */
import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import * as fc from 'fast-check';

import { Book, ENTITIES, Tag } from '../contract/contract.entities.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startApp, type TestApp } from '../support/test-app.js';

const STEPS = [
  'read', // with an automatic flush, if tags wait
  'flush',
  'persist',
  'create',
  'remove',
  'change',
  'add to collection',
  'empty collection',
] as const;
type Step = (typeof STEPS)[number];
type Branch = readonly Step[];

const WAYS = ['session', 'transactional', 'fork'] as const;
interface Program {
  readonly way: (typeof WAYS)[number];
  readonly branches: readonly Branch[];
}

const programs: fc.Arbitrary<Program> = fc.record({
  way: fc.constantFrom(...WAYS),
  branches: fc.array(fc.array(fc.constantFrom(...STEPS), { minLength: 1, maxLength: 5 }), {
    minLength: 2,
    maxLength: 4,
  }),
});

const FIXED_SEED = 20_261_125;
const given = process.env['DB_CONTEXT_PROPERTY_RUNS'];
const RUNS = Number(given ?? 40);
const SEED = Number(
  process.env['DB_CONTEXT_PROPERTY_SEED'] ??
    (given === undefined ? FIXED_SEED : Math.floor(Math.random() * 2 ** 31)),
);
const TIMEOUT_MS = 60_000 + RUNS * 100;

let database: TestDatabase;
let app: TestApp;

beforeAll(async () => {
  database = await createTestDatabase();
  app = await startApp({
    connections: [
      defineConfig({ clientUrl: database.url, entities: ENTITIES, pool: { min: 0, max: 8 } }),
    ],
  });
  await database.query(await app.connection().orm.schema.getCreateSchemaSQL());
});
afterAll(async () => {
  await app.close();
  await database.drop();
});

/** @param key names the rows that the step works on */
async function take(step: Step, em: EntityManager, key: string): Promise<void> {
  const ownBook = (): Promise<Book> =>
    em.findOneOrFail(Book, { title: key }, { populate: ['tags'] });
  switch (step) {
    case 'read':
      await em.find(Tag, { name: key });
      return;
    case 'flush':
      await em.flush();
      return;
    case 'persist': {
      const tag = new Tag();
      tag.name = `new ${key}`;
      em.persist(tag);
      return;
    }
    case 'create':
      em.create(Tag, { name: `new ${key}` });
      return;
    case 'remove':
      em.remove(await em.findOneOrFail(Tag, { name: `tag ${key}` }));
      return;
    case 'change':
      (await em.findOneOrFail(Tag, { name: `tag ${key}` })).name = `changed ${key}`;
      return;
    case 'add to collection':
      (await ownBook()).tags.add(em.create(Tag, { name: `new ${key}` }));
      return;
    case 'empty collection':
      (await ownBook()).tags.removeAll();
  }
}

async function runBranch(em: EntityManager, branch: Branch, number: number): Promise<void> {
  for (const [index, step] of branch.entries()) {
    await take(step, em, `${number}.${index}`);
  }
}

async function runPlain({ branches }: Program): Promise<void> {
  await app
    .connection()
    .orm.em.fork()
    .transactional(async (em) => {
      for (const [number, branch] of branches.entries()) {
        await runBranch(em, branch, number);
      }
    });
}

async function runInParallel({ way, branches }: Program): Promise<void> {
  const all = (em: EntityManager): Promise<unknown> =>
    Promise.all(branches.map((branch, number) => runBranch(em, branch, number)));
  await app.dbContext.run(async () => {
    const session = app.session();
    if (way === 'session') {
      await all(session);
    } else if (way === 'transactional') {
      await session.transactional(all);
    } else {
      const fork = session.fork();
      await all(fork);
      await fork.flush();
    }
  });
}

async function rowsAfter(
  program: Program,
  run: (program: Program) => Promise<void>,
): Promise<unknown> {
  const keys = program.branches.flatMap((branch, number) =>
    branch.map((_, index) => `('${number}.${index}')`),
  );
  await database.query(`
    delete from book_tag; delete from book; delete from tag;
    insert into tag (name) select 'tag ' || key from (values ${keys.join(', ')}) keys (key);
    insert into tag (name) select 'of book ' || key from (values ${keys.join(', ')}) keys (key);
    insert into book (title) select key from (values ${keys.join(', ')}) keys (key);
    insert into book_tag select book.id, tag.id from book join tag on tag.name = 'of book ' || title`);
  await run(program);
  expect(app.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
  const [tags, books] = await Promise.all([
    database.query('select name from tag order by name'),
    database.query(`select title, name from book_tag join book on book.id = book_id
      join tag on tag.id = tag_id order by 1, 2`),
  ]);
  return { tags, books };
}

it(
  `S3, F5: parallel branches leave the rows of plain MikroORM (seed ${SEED})`,
  () =>
    fc.assert(
      fc.asyncProperty(programs, async (program) => {
        const expected = await rowsAfter(program, runPlain);
        expect(await rowsAfter(program, runInParallel)).toEqual(expected);
      }),
      { seed: SEED, numRuns: RUNS, interruptAfterTimeLimit: TIMEOUT_MS - 10_000 },
    ),
  TIMEOUT_MS,
);
