import {
  makeImpatient,
  meetInDeadlock,
  meetInUpdate,
  meetInWriteSkew,
} from './support/outsider.js';
import { describeFaults, type Fault } from './support/describe-faults.js';
import type { Handler, Work } from './support/scenario.js';
import { TIMES } from './support/times.js';
import type { LibraryWorld } from './support/world.js';

const writes = (): Handler => (work) => work.write('row');

/** Ends the connections that were opened with a setting which is no more. */
const forget = async (world: LibraryWorld): Promise<void> => {
  await world.faultDatabase.resetServer();
  await world.faultDatabase.kill('true');
};
const expectCommits = (count: number) => (world: LibraryWorld) =>
  expect(world.proxy.log.filter((sql) => sql === 'commit')).toHaveLength(count);

/** Meets somebody else, in its first attempt only. */
const meetsOnce =
  (meet: (world: LibraryWorld, work: Work) => Promise<void>) =>
  (world: LibraryWorld): Handler => {
    const met = new Set<string>();
    return async (work) => {
      await work.look();
      await work.write('row');
      if (!met.has(work.key)) {
        met.add(work.key);
        await meet(world, work);
      }
    };
  };

const conflicts: readonly Fault[] = [
  {
    title: 'F1: a deadlock',
    arrange: makeImpatient,
    handler: meetsOnce(meetInDeadlock),
    answers: ['500 DeadlockException'],
    saved: 'nothing',
  },
  {
    title: 'F1: a deadlock, run again',
    kind: 'retried',
    arrange: makeImpatient,
    handler: meetsOnce(meetInDeadlock),
    answers: ['200'],
    saved: 'all',
    afterwards: expectCommits(TIMES),
  },
  {
    title: 'F1: a serialization failure of a statement',
    limits: { transaction: { isolationLevel: 'repeatable read' } },
    handler: meetsOnce(meetInUpdate),
    answers: ['500 DeadlockException'],
    saved: 'nothing',
  },
  {
    title: 'F1: a serialization failure of a statement, run again',
    kind: 'retried',
    limits: { transaction: { isolationLevel: 'repeatable read' } },
    handler: meetsOnce(meetInUpdate),
    answers: ['200'],
    saved: 'all',
    afterwards: expectCommits(TIMES),
  },
  {
    title: 'F1, F4: a serialization failure of the COMMIT',
    oneByOne: true,
    limits: { transaction: { isolationLevel: 'serializable' } },
    handler: meetsOnce(meetInWriteSkew),
    answers: ['500 DeadlockException'],
    saved: 'nothing',
    afterwards: expectCommits(TIMES),
  },
  {
    title: 'F1, F4: a deferred constraint that fails at the COMMIT',
    handler: () => async (work) => {
      await work.session.execute('set constraints all deferred');
      await work.write('row');
      await work.write('row');
    },
    answers: ['500 UniqueConstraintViolationException'],
    saved: 'nothing',
    afterwards: expectCommits(TIMES),
  },
  {
    title: 'F1, F4: a deferred constraint that fails at the COMMIT (Fastify)',
    adapter: 'fastify',
    handler: () => async (work) => {
      await work.session.execute('set constraints all deferred');
      await work.write('row');
      await work.write('row');
    },
    answers: ['500 UniqueConstraintViolationException'],
    saved: 'nothing',
    afterwards: expectCommits(TIMES),
  },
  {
    title: 'F4: a failed statement whose error the handler swallows',
    handler: () => async (work) => {
      await work.write('first');
      await work.session.execute('select 1 / 0').catch(() => undefined);
    },
    answers: ['500 UnexpectedRollbackError'],
    saved: 'nothing',
    afterwards: expectCommits(0),
  },
];

const troubles: readonly Fault[] = [
  {
    title: 'F1: a server that is read-only',
    arrange: (world) => world.faultDatabase.setServer('default_transaction_read_only', 'on'),
    handler: writes,
    heal: forget,
    answers: ['500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: a server whose disk is full (53100)',
    handler: () => async (work) => {
      await work.write('first');
      await work.write('disk-full');
    },
    answers: ['500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: a server out of connections (53300)',
    arrange: (world) =>
      world.faultDatabase.database.query(
        `alter role ${world.faultDatabase.role} connection limit 0`,
      ),
    handler: writes,
    heal: forget,
    answers: ['500 ConnectionFailedError'],
    saved: 'nothing',
    afterwards: (_, answers) => {
      expect(new Set(answers.map(({ errorBody }) => errorBody?.message))).toEqual(
        new Set([expect.stringContaining('too many connections for role')]),
      );
    },
  },
  {
    title: 'F1, S1: a server with fewer connections than the pool wants',
    arrange: (world) =>
      world.faultDatabase.database.query(
        `alter role ${world.faultDatabase.role} connection limit 2`,
      ),
    handler: writes,
    heal: forget,
    answers: ['200', '500 ConnectionFailedError'],
    saved: 'as answered',
    afterwards: (_, answers) => {
      expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThan(0);
    },
  },
];

describeFaults('errors of the server, conflicts', conflicts);
describeFaults('errors of the server, troubles', troubles);
