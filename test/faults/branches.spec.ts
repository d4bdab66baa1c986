import { SessionClosedError } from 'nestjs-db-context';

import { Author, Book } from '../support/library.entities.js';
import { Note } from '../support/note.entity.js';
import { describeFaults, type Fault } from './support/describe-faults.js';
import type { Handler, Work } from './support/scenario.js';
import { TIMES } from './support/times.js';
import type { LibraryWorld } from './support/world.js';

class BranchFailed extends Error {}

/** The ways in which a session reaches the database. */
const ALL_WAYS: readonly (readonly [string, (work: Work, label: string) => Promise<unknown>])[] = [
  ['find', (work) => work.session.find(Note, {})],
  ['persist + flush', (work, label) => work.write(label)],
  [
    'native query',
    (work, label) => work.session.execute('insert into note (text) values (?)', [work.text(label)]),
  ],
  ['nativeInsert', (work, label) => work.session.insert(Note, { text: work.text(label) })],
  [
    'query builder',
    (work, label) =>
      work.session
        .createQueryBuilder(Note)
        .insert({ text: work.text(label) })
        .execute(),
  ],
  [
    'Kysely',
    (work, label) =>
      work.session
        .getKysely<{ note: { text: string } }>()
        .insertInto('note')
        .values({ text: work.text(label) })
        .execute(),
  ],
  [
    'em.stream()',
    async (work) => {
      let count = 0;
      for await (const note of work.session.stream(Note, {})) {
        count += note.text.length > 0 ? 1 : 0;
      }
      return count;
    },
  ],
  ['em.transactional()', (work, label) => work.session.transactional(() => work.write(label))],
];

// The short form looks at one that reads in chunks, one that writes, and one past MikroORM.
const IN_SHORT = ['em.stream()', 'persist + flush', 'Kysely'];
const WAYS = ALL_WAYS.map(([name, reach]) => [name, reach, !IN_SHORT.includes(name)] as const);

/** Each request left as many pieces of work behind, and each piece was refused. */
const expectRefused =
  (piecesPerRequest = 1) =>
  async ({ scenario }: LibraryWorld): Promise<void> => {
    const late = await scenario.late();
    expect(late).toHaveLength(TIMES * piecesPerRequest);
    expect(late.map(({ outcome }) => outcome)).toEqual(
      late.map(() => ({
        status: 'rejected',
        reason: expect.objectContaining({
          constructor: SessionClosedError,
          code: 'SESSION_CLOSED',
        }),
      })),
    );
  };

const rejecting = WAYS.flatMap(([name, reach, isVariant]): readonly Fault[] => [
  {
    title: `F3: Promise.all with a rejecting branch beside a running one: ${name}`,
    isVariant,
    handler: (): Handler => async (work) => {
      await work.write('first');
      const branch = reach(work, 'running').then(() => reach(work, 'next'));
      branch.catch(() => undefined);
      await Promise.all([branch, Promise.reject(new BranchFailed('the other branch'))]);
    },
    answers: ['500 BranchFailed'],
    saved: 'nothing',
  },
  {
    title: `F3: Promise.all with a rejecting branch, the other goes on later: ${name}`,
    isVariant,
    handler: (): Handler => async (work) => {
      await work.write('first');
      const branch = work.gone.then(() => reach(work, 'late'));
      work.scenario.leave(work.key, branch);
      await Promise.all([branch, Promise.reject(new BranchFailed('the other branch'))]);
    },
    answers: ['500 BranchFailed'],
    saved: 'nothing',
    afterwards: expectRefused(),
  },
]);

const lazyCollection: Fault = {
  title: 'F3: Promise.all with a rejecting branch, the other goes on later: a lazy collection',
  arrange: async (world) => {
    await world.faultDatabase.database.query(`
      insert into author (name) values ('a');
      insert into book (title, author_id) values ('b', 1)`);
  },
  handler: (): Handler => async (work) => {
    await work.write('first');
    const author = await work.session.findOneOrFail(Author, { name: 'a' });
    const running = author.books.init().catch(() => undefined);
    const branch = work.gone.then(() => author.books.init());
    const reference = work.session.getReference(Book, 1);
    const other = work.gone.then(() => work.session.refresh(reference));
    work.scenario.leave(work.key, branch);
    work.scenario.leave(work.key, other);
    await Promise.all([running, branch, Promise.reject(new BranchFailed('the other branch'))]);
  },
  answers: ['500 BranchFailed'],
  saved: 'nothing',
  afterwards: expectRefused(2),
};

const unawaited = WAYS.map(([name, reach, isVariant]): Fault => ({
  title: `F3: un-awaited work, still running at the COMMIT: ${name}`,
  isVariant,
  handler: (): Handler => async (work) => {
    await work.write('first');
    reach(work, 'running').catch(() => undefined);
  },
  // A flush is waited for by the flush of the commit, so nothing of it is left behind.
  answers: [name === 'persist + flush' ? '200' : '500 UnexpectedRollbackError'],
  saved: 'as answered',
}));

const late = WAYS.map(([name, reach, isVariant]): Fault => ({
  title: `F3, S5: un-awaited work, begun after the COMMIT: ${name}`,
  isVariant,
  handler: (): Handler => async (work) => {
    await work.write('first');
    // What is written later is not promised: its text is none of this request's.
    const straggler = Object.create(work, { text: { value: () => 'foreign/row' } }) as Work;
    work.scenario.leave(
      work.key,
      work.gone.then(() => reach(straggler, 'late')),
    );
  },
  answers: ['200'],
  saved: 'all',
  afterwards: expectRefused(),
}));

describeFaults('branches that reject', [...rejecting, lazyCollection]);
describeFaults('work that nobody awaits', [...unawaited, ...late]);
