import { Note } from '../support/note.entity.js';
import type { StatementFate } from '../support/wire-connection.js';
import { describeFaults, type Fault } from './support/describe-faults.js';
import type { Handler, Work } from './support/scenario.js';
import { TIMES } from './support/times.js';
import type { LibraryWorld } from './support/world.js';

/** Has the same happen to as many statements as there are requests. */
const at =
  (pattern: RegExp, fate: StatementFate) =>
  (world: LibraryWorld): void => {
    for (let each = 0; each < TIMES; each++) {
      world.proxy.arm(fate, pattern);
    }
  };
const heal = (world: LibraryWorld): void => {
  world.proxy.disarm();
  world.proxy.heal();
};

const writes = (): Handler => (work) => work.write('row');
const writesTwice = (): Handler => async (work) => {
  await work.write('first');
  await work.write('second');
};
const fails = (): Handler => async (work) => {
  await work.write('first');
  throw new RangeError('the handler failed');
};

// A first statement has been answered, so that only the fault itself can be what times out.
const SECOND = /\/second'/;
const SHORT = { transactionTimeoutMs: 600, endTimeoutMs: 500 };

const cuts: readonly Fault[] = [
  {
    title: 'F1: link cut before BEGIN',
    arrange: at(/^begin/, 'cut'),
    handler: writes,
    heal,
    answers: ['500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: link cut as it connects',
    limits: { acquireTimeoutMs: 1_000 },
    arrange: (world) => {
      world.proxy.refuse = true;
    },
    handler: writes,
    heal: (world) => {
      world.proxy.refuse = false;
    },
    answers: ['500 ConnectionFailedError'],
    saved: 'nothing',
  },
  {
    title: 'F1: link cut between two statements',
    handler: (world) => async (work) => {
      await work.write('first');
      world.proxy.cut();
      await work.write('second');
    },
    // It cuts all of them, so also those that connect or begin just now.
    answers: ['500 DriverException', '500 TransactionAbortedError', '500 ConnectionFailedError'],
    saved: 'nothing',
  },
  {
    title: 'F1: link cut during a statement',
    isVariant: true,
    arrange: at(SECOND, 'cut'),
    handler: writesTwice,
    heal,
    answers: ['500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: the answer to a statement lost, and the link with it',
    isVariant: true,
    arrange: at(SECOND, 'drop-answer'),
    handler: writesTwice,
    heal,
    answers: ['500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1, F4: link cut as COMMIT leaves',
    arrange: at(/^commit$/, 'cut'),
    handler: writes,
    heal,
    answers: ['500 CommitOutcomeUnknownError'],
    saved: 'nothing',
  },
  {
    title: 'F1, F4: the answer to COMMIT lost',
    arrange: at(/^commit$/, 'drop-answer'),
    handler: writes,
    heal,
    answers: ['500 CommitOutcomeUnknownError'],
    saved: 'all',
  },
  {
    title: 'F1, F4: the answer to COMMIT lost (Fastify)',
    adapter: 'fastify',
    arrange: at(/^commit$/, 'drop-answer'),
    handler: writes,
    heal,
    answers: ['500 CommitOutcomeUnknownError'],
    saved: 'all',
  },
  {
    title: 'F4: the answer to COMMIT lost is never tried again',
    kind: 'retried',
    arrange: at(/^commit$/, 'drop-answer'),
    handler: writes,
    heal,
    answers: ['500 CommitOutcomeUnknownError'],
    saved: 'all',
    afterwards: (world) => {
      expect(world.proxy.log.filter((sql) => sql === 'commit')).toHaveLength(TIMES);
    },
  },
  {
    title: 'F1, F2: link cut as ROLLBACK leaves',
    arrange: at(/^rollback$/, 'cut'),
    handler: fails,
    heal,
    answers: ['500 RangeError'],
    saved: 'nothing',
  },
];

const DIRECTIONS = [
  ['to the server', 'lose-request'],
  ['to the client', 'lose-answer'],
] as const;

const halfOpen = DIRECTIONS.flatMap(([name, fate]): readonly Fault[] => [
  {
    title: `F1, F6: link half open ${name}, before BEGIN`,
    isVariant: fate === 'lose-answer',
    limits: SHORT,
    arrange: at(/^begin/, fate),
    handler: writes,
    heal,
    answers: ['500 TransactionTimeoutError'],
    saved: 'nothing',
  },
  {
    title: `F1, F6: link half open ${name}, between two statements`,
    isVariant: fate === 'lose-answer',
    limits: SHORT,
    arrange: at(SECOND, fate),
    handler: writesTwice,
    heal,
    answers: ['500 TransactionTimeoutError'],
    saved: 'nothing',
  },
  {
    title: `F1, F4, F6: link half open ${name}, during COMMIT`,
    isVariant: fate === 'lose-answer',
    limits: { endTimeoutMs: 500 },
    arrange: at(/^commit$/, fate),
    handler: writes,
    heal,
    answers: ['500 CommitOutcomeUnknownError'],
    saved: fate === 'lose-request' ? 'nothing' : 'all',
  },
  {
    title: `F1, F2, F6: link half open ${name}, during ROLLBACK`,
    isVariant: fate === 'lose-answer',
    limits: { endTimeoutMs: 500 },
    arrange: at(/^rollback$/, fate),
    handler: fails,
    heal,
    answers: ['500 RangeError'],
    saved: 'nothing',
  },
]);

const readNotes = async (work: Work): Promise<number> => {
  let count = 0;
  for await (const note of work.session.stream(Note, { where: { text: { $ne: 'other' } } })) {
    count += note.text.length > 0 ? 1 : 0;
  }
  return count;
};

const rest: readonly Fault[] = [
  {
    title: 'F1: row stream cut mid-row',
    arrange: at(/^fetch/, 'cut-in-row'),
    handler: () => async (work) => {
      await work.write('first');
      await readNotes(work);
    },
    heal,
    answers: ['500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: rows of a find cut mid-row',
    isVariant: true,
    arrange: at(/select "n0"/, 'cut-in-row'),
    handler: () => async (work) => {
      await work.write('first');
      work.session.clear();
      await work.session.find(Note, {});
    },
    heal,
    answers: ['500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1, S1: a slow link',
    arrange: (world) => {
      world.proxy.delayMs = 20;
    },
    handler: writesTwice,
    heal: (world) => {
      world.proxy.delayMs = 0;
    },
    answers: ['200'],
    saved: 'all',
  },
];

describeFaults('the link, cut', cuts);
describeFaults('the link, half open', halfOpen);
describeFaults('the link, mid-row and slow', rest);
