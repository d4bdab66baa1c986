/** The message of each error that a unit of work can raise says on which connection, and in which route. */
import { readFileSync } from 'node:fs';

import {
  AcquireTimeoutError,
  CommitOutcomeUnknownError,
  ConnectionClosedError,
  ConnectionFailedError,
  BeforeSessionError,
  ContextSettingsError,
  ContextTimeoutError,
  DbContextError,
  HookTimeoutError,
  HostDrainTimeoutError,
  InvalidTransactionStateError,
  JobNotSentError,
  NoPrimaryError,
  PartialCommitError,
  PoolDeadlockError,
  ProtocolViolationError,
  ReadOnlyTransactionError,
  ReplicasUnavailableError,
  SavepointTimeoutError,
  SessionClosedError,
  ShuttingDownError,
  StreamFailedError,
  StreamRefusedError,
  StreamTimeoutError,
  TransactionAbortedError,
  TransactionTimeoutError,
  UnexpectedRollbackError,
} from 'nestjs-db-context';

const PLACE = { connectionName: 'reports', origin: 'OrdersController.create' };
const CAUSE = new Error('its cause');

/** Errors that name both, made with a place. */
const WITH_BOTH: readonly DbContextError[] = [
  new SessionClosedError(PLACE),
  new SessionClosedError(PLACE, 'withClient()'),
  new SessionClosedError(PLACE, 'transactional()'),
  new SessionClosedError(PLACE, 'commit()'),
  new UnexpectedRollbackError(PLACE, 'failed-statement', CAUSE),
  new CommitOutcomeUnknownError(PLACE, CAUSE),
  new PartialCommitError(
    [
      { connectionName: 'reports', outcome: 'committed' },
      { connectionName: 'default', outcome: 'rolled-back' },
    ],
    CAUSE,
    PLACE,
  ),
  new TransactionTimeoutError(PLACE, 1),
  new TransactionAbortedError(PLACE, CAUSE),
  new InvalidTransactionStateError(PLACE, 'it does not fit'),
  new ReadOnlyTransactionError(PLACE, ['Note']),
  new SavepointTimeoutError(PLACE, 1),
  new StreamRefusedError(PLACE, 'no-query'),
  new AcquireTimeoutError(PLACE, 1, { size: 1, checkedOut: 1, waiting: 1 }),
  new PoolDeadlockError('reports', { size: 1, waiting: 1 }, { ...PLACE, isPast: false }),
  new ProtocolViolationError(PLACE),
  new ContextSettingsError(PLACE, CAUSE),
  new BeforeSessionError(PLACE, CAUSE),
  new ConnectionFailedError(PLACE, CAUSE),
  new ReplicasUnavailableError(PLACE, []),
  new NoPrimaryError(PLACE, []),
  new ConnectionClosedError(PLACE),
  new HostDrainTimeoutError(PLACE, 'db1', 1),
  new HookTimeoutError('a subscriber of afterTransactionStart', 1, 'acquireTimeoutMs', PLACE),
];

/** Errors of a unit of work as a whole, which need not have a connection. */
const WITH_ORIGIN: readonly DbContextError[] = [
  new ContextTimeoutError(PLACE.origin, 1),
  new ShuttingDownError(PLACE.origin),
  new StreamFailedError(PLACE.origin, CAUSE),
  new StreamTimeoutError(PLACE.origin, 1),
  new JobNotSentError('mails', ['welcome'], ['1'], PLACE.origin, CAUSE),
];

/** Errors that are of no unit of work, with the reason. */
const WITHOUT: Readonly<Record<string, string>> = {
  DB_CONTEXT_NOT_ACTIVE: 'there is none',
  DECORATOR_NOT_MANAGED: 'there is none yet',
  DUPLICATE_CONNECTION: 'at boot',
  INVALID_OPTIONS: 'at boot, or of a call that is wrong wherever it is made',
  UNKNOWN_CONNECTION: 'of a name, with those that there are',
  UNKNOWN_ENTITY: 'of an entity, at boot',
  OUTSIDE_TEST: 'of tests',
  TEST_CONNECTION_LOST: 'of tests',
  TEST_ISOLATION: 'of tests',
  TEST_ROWS_KEPT: 'of tests',
  TEST_TIMEOUT: 'of tests',
  WORKER_DATABASE: 'of tests',
  WRONG_DATABASE: 'of tests',
};

it('all codes are looked at here', () => {
  const text = readFileSync(
    new URL('../../lib/errors/db-context-error.ts', import.meta.url),
    'utf8',
  );
  const [, union] = /export type DbContextErrorCode =([^;]*);/.exec(text)!;
  const codes = [...union!.matchAll(/'([A-Z_]+)'/g)].map(([, code]) => code!);
  const known = [...WITH_BOTH, ...WITH_ORIGIN].map(({ code }) => code as string);
  expect([...new Set([...known, ...Object.keys(WITHOUT)])].toSorted()).toEqual(codes.toSorted());
});

it.each(WITH_BOTH.map((error) => [error.code, error] as const))(
  '%s names its connection and its route',
  (_, error) => {
    const [says] = error.message.split('\nSee ');
    expect(says).toMatch(/\breports\b/);
    expect(says).toContain('in the context of OrdersController.create');
    expect(error.origin).toBe('OrdersController.create');
  },
);

it.each(WITH_ORIGIN.map((error) => [error.code, error] as const))(
  '%s names its route',
  (_, error) => {
    expect(error.message).toContain('OrdersController.create');
  },
);
