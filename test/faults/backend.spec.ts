import { waitFor } from '../support/wait-for.js';
import { describeFaults, type Fault } from './support/describe-faults.js';
import type { LibraryWorld } from './support/world.js';

type Meanwhile = NonNullable<Fault['meanwhile']>;

/** Has something happen to backends, again and again, until all requests are answered. */
const untilAnswered =
  (happen: (world: LibraryWorld) => Promise<unknown>): Meanwhile =>
  async (world, answers) => {
    let isOver = false;
    void answers.then(() => {
      isOver = true;
    });
    await waitFor(
      async () => {
        await happen(world);
        return isOver;
      },
      { what: 'all requests to be answered', timeoutMs: 40_000 },
    );
  };
const killWhere = (condition: string): Meanwhile =>
  untilAnswered((world) => world.faultDatabase.kill(condition));

/** Kills the backend of a statement after it has left the client, before the server has it. */
const killAt =
  (pattern: RegExp) =>
  (world: LibraryWorld): void => {
    world.proxy.onStatement = async (sql, connection) => {
      if (pattern.test(sql)) {
        await world.faultDatabase.kill('pid = $1', [world.proxy.backendPid(connection)]);
      }
    };
  };
const letLive = (world: LibraryWorld): void => {
  world.proxy.onStatement = undefined;
};

const faults: readonly Fault[] = [
  {
    title: 'F1: backend killed before BEGIN',
    arrange: killAt(/^begin/),
    handler: () => (work) => work.write('row'),
    heal: letLive,
    answers: ['500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: backend killed while it was idle in the pool',
    arrange: async (world) => {
      await Promise.all(Array.from({ length: 5 }, (_, index) => world.ask(`warm-${index}`)));
      await world.faultDatabase.kill('true');
      await world.faultDatabase.clear();
      world.scenario.reset();
    },
    handler: () => (work) => work.write('row'),
    answers: ['200'],
    saved: 'all',
  },
  {
    title: 'F1: backend killed between two statements',
    handler: (world) => async (work) => {
      await work.write('first');
      await world.faultDatabase.kill('pid = $1', [(await work.look()).pid]);
      await work.write('second');
    },
    // The driver hears of the end by itself, or from the next statement.
    answers: ['500 TransactionAbortedError', '500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: backend killed between two statements (Fastify)',
    adapter: 'fastify',
    handler: (world) => async (work) => {
      await work.write('first');
      await world.faultDatabase.kill('pid = $1', [(await work.look()).pid]);
      await work.write('second');
    },
    // The driver hears of the end by itself, or from the next statement.
    answers: ['500 TransactionAbortedError', '500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: backend killed before a COMMIT that it never gets',
    handler: (world) => async (work) => {
      await work.write('first');
      await world.faultDatabase.kill('pid = $1', [(await work.look()).pid]);
    },
    answers: ['500 UnexpectedRollbackError', '500 CommitOutcomeUnknownError'],
    saved: 'nothing',
  },
  {
    title: 'F1: backend killed during a statement',
    handler: () => async (work) => {
      await work.write('first');
      await work.session.execute('select pg_sleep(60)');
    },
    meanwhile: killWhere(`query = 'select pg_sleep(60)' and state = 'active'`),
    answers: ['500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: backend killed during a statement whose error the handler swallows',
    isVariant: true,
    handler: () => async (work) => {
      await work.write('first');
      await work.session.execute('select pg_sleep(60)').catch(() => undefined);
    },
    meanwhile: killWhere(`query = 'select pg_sleep(60)' and state = 'active'`),
    answers: ['500 UnexpectedRollbackError'],
    saved: 'nothing',
  },
  {
    title: 'F1, F4: backend killed during COMMIT',
    limits: { endTimeoutMs: 30_000 },
    handler: () => (work) => work.write('sleeps-at-commit'),
    meanwhile: killWhere(`query = 'commit' and state = 'active'`),
    answers: ['500 CommitOutcomeUnknownError'],
    saved: 'nothing',
  },
  {
    title: 'F1, F4: backend killed during COMMIT (Fastify)',
    adapter: 'fastify',
    limits: { endTimeoutMs: 30_000 },
    handler: () => (work) => work.write('sleeps-at-commit'),
    meanwhile: killWhere(`query = 'commit' and state = 'active'`),
    answers: ['500 CommitOutcomeUnknownError'],
    saved: 'nothing',
  },
  {
    title: 'F1, F2: backend killed as ROLLBACK is on its way',
    arrange: killAt(/^rollback/),
    handler: () => async (work) => {
      await work.write('first');
      throw new RangeError('the handler failed');
    },
    heal: letLive,
    answers: ['500 RangeError'],
    saved: 'nothing',
  },
  {
    title: 'F1: a statement cancelled by an administrator',
    isVariant: true,
    handler: () => async (work) => {
      await work.write('first');
      await work.session.execute('select pg_sleep(60)');
    },
    meanwhile: untilAnswered((world) =>
      world.faultDatabase.database.query(
        `select pg_cancel_backend(pid) from pg_stat_activity
         where usename = $1 and query = 'select pg_sleep(60)' and state = 'active'`,
        [world.faultDatabase.role],
      ),
    ),
    answers: ['500 DriverException'],
    saved: 'nothing',
  },
];

describeFaults('the backend', faults);
