import { bump, lockRow } from './support/outsider.js';
import { describeFaults, type Fault } from './support/describe-faults.js';
import type { Handler } from './support/scenario.js';
import type { LibraryWorld } from './support/world.js';

const sleeps = (): Handler => async (work) => {
  await work.write('first');
  await work.session.execute('select pg_sleep(60)');
};

/** Goes on only after the server has ended the connection by itself. */
const outlivesItsBackend =
  (world: LibraryWorld): Handler =>
  async (work) => {
    await work.write('first');
    const { pid } = await work.look();
    await world.faultDatabase.until(
      `pid = ${pid}`,
      'the server to give up',
      (count) => count === 0,
    );
    await work.write('second');
  };

const onServer = (setting: string, value: string) => (world: LibraryWorld) =>
  world.faultDatabase.setServer(setting, value);
/** Ends the connections that were opened with a setting which is no more. */
const forget = async (world: LibraryWorld): Promise<void> => {
  await world.faultDatabase.resetServer();
  await world.faultDatabase.kill('true');
};

/** Lets go of the row that somebody else has locked. */
let letGo: () => Promise<void>;
const lockFirstRow = async (world: LibraryWorld): Promise<void> => {
  letGo = await lockRow(world, 1);
};
const waitsForLock = (): Handler => async (work) => {
  await work.write('first');
  await bump(work, 1);
};

const timeouts: readonly Fault[] = [
  {
    title: 'F1: statement_timeout of the server',
    isVariant: true,
    arrange: onServer('statement_timeout', '250ms'),
    handler: sleeps,
    heal: forget,
    answers: ['500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: statement_timeout of ours',
    limits: { transaction: { statementTimeoutMs: 250 } },
    handler: sleeps,
    answers: ['500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: lock_timeout of the server',
    isVariant: true,
    arrange: async (world) => {
      await world.faultDatabase.setServer('lock_timeout', '100ms');
      await lockFirstRow(world);
    },
    handler: waitsForLock,
    heal: async (world) => {
      await letGo();
      await forget(world);
    },
    answers: ['500 LockWaitTimeoutException', '500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: lock_timeout of ours',
    limits: { transaction: { lockTimeoutMs: 100 } },
    arrange: lockFirstRow,
    handler: waitsForLock,
    heal: () => letGo(),
    answers: ['500 LockWaitTimeoutException', '500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: idle_in_transaction_session_timeout of the server',
    arrange: onServer('idle_in_transaction_session_timeout', '250ms'),
    handler: outlivesItsBackend,
    heal: forget,
    answers: ['500 TransactionAbortedError', '500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: idle_in_transaction_session_timeout of ours',
    isVariant: true,
    limits: { transaction: { idleTimeoutMs: 250 } },
    handler: outlivesItsBackend,
    answers: ['500 TransactionAbortedError', '500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: transaction_timeout of the server',
    arrange: onServer('transaction_timeout', '400ms'),
    handler: sleeps,
    heal: forget,
    answers: ['500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1, F6: transactionTimeoutMs during a statement',
    limits: { transactionTimeoutMs: 600 },
    handler: sleeps,
    answers: ['500 TransactionTimeoutError'],
    saved: 'nothing',
  },
  {
    title: 'F1, F6: transactionTimeoutMs during a statement (Fastify)',
    adapter: 'fastify',
    limits: { transactionTimeoutMs: 600 },
    handler: sleeps,
    answers: ['500 TransactionTimeoutError'],
    saved: 'nothing',
  },
  {
    title: 'F1, F2: query_timeout of pg during a statement',
    limits: { driverOptions: { query_timeout: 400 } },
    handler: sleeps,
    answers: ['500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1, F2, F4: query_timeout of pg during COMMIT',
    isVariant: true,
    limits: { driverOptions: { query_timeout: 400 } },
    handler: () => (work) => work.write('sleeps-at-commit'),
    // The server is still at it, and nobody asked it to stop.
    heal: (world) => world.faultDatabase.kill('true'),
    answers: ['500 CommitOutcomeUnknownError'],
    saved: 'nothing',
  },
  {
    title: 'F1, F4, F6: endTimeoutMs during COMMIT',
    limits: { endTimeoutMs: 400 },
    handler: () => (work) => work.write('sleeps-at-commit'),
    heal: (world) => world.faultDatabase.kill('true'),
    answers: ['500 CommitOutcomeUnknownError'],
    saved: 'nothing',
  },
];

describeFaults('limits', timeouts);
