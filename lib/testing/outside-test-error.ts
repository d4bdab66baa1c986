import type { Holder } from '../connection/claim.js';
import { DbContextError } from '../errors.js';
import { UnknownOwner, type TestOwner } from './test-owner.js';

/**
 * Why work was refused, see {@link OutsideTestError}.
 *
 * - `no-test`: no test was running;
 * - `no-owner`: several tests share the application, and the work belongs to none of them;
 * - `test-ended`: the test that it belongs to has ended;
 * - `unknown-test`: the token that it came with, in a header or in the data of a job, is that of no test;
 * - `left-out`: its connection is not part of the shared transaction.
 *
 * @publicApi
 */
export type OutsideTestReason = 'no-test' | 'no-owner' | 'test-ended' | 'unknown-test' | 'left-out';

const WHAT: Record<OutsideTestReason, string> = {
  'no-test': 'while no test was running',
  'no-owner': 'which belongs to no test',
  'test-ended': 'which belongs to a test that has ended',
  'unknown-test': 'which came with a token that no test of this block has',
  'left-out': 'and is not part of the shared transaction',
};

const ADVICE: Record<Exclude<OutsideTestReason, 'left-out'>, string> = {
  'no-test':
    'Await in each test what it starts, stop the timers and jobs of the application, and write data ' +
    'that all tests share in the callback of db.beforeAll(), or before useTestTransaction() begins to ' +
    "watch: in a beforeAll() that stands before it. Where the work may commit, say outside: 'commit'; where " +
    "it may wait for the next test, outside: 'hold'. Jest calls no beforeEach() for it.concurrent: write such tests as db.test() of " +
    'useTestTransaction(() => app, { concurrent: true }).',
  'no-owner':
    'With { concurrent: true } write tests as db.test(name, fn), send requests with db.headers() or ' +
    'by db.request(app), and run what a job or a socket does by db.allow(token, fn).',
  'test-ended': 'Await in each test what it starts.',
  'unknown-test':
    'Send the header x-db-context-test as db.headers() has it, and have db.token in the data of each job.',
};

/** What the message of an {@link OutsideTestError} says beside the connection and the reason. */
export interface OutsideTestDetails {
  /** The name of the unit of work. */
  readonly origin?: string | undefined;
  /** The name of the test that has ended. */
  readonly test?: string | undefined;
  /** The test that had run before. */
  readonly after?: string | undefined;
  /** How long it has waited for a test, in milliseconds. */
  readonly waitedMs?: number | undefined;
  /** How often the same has happened. */
  readonly times?: number;
  /** What happened, where no connection was asked for. */
  readonly what?: string | undefined;
  readonly cause?: unknown;
}

/**
 * Work of the application asked for a connection and belongs to no test, so that what it writes would
 * really be committed, and stay. It gets no connection, and nothing is sent.
 *
 * @publicApi
 */
export class OutsideTestError extends DbContextError {
  constructor(
    readonly connectionName: string,
    readonly reason: OutsideTestReason,
    details: OutsideTestDetails = {},
  ) {
    const { times = 1, cause, what = usedBy(connectionName, reason, details) } = details;
    const repeated = times === 1 ? '' : ` This happened ${times} times.`;
    super('OUTSIDE_TEST', `${what}${repeated} ${adviceOn(reason, connectionName)}`, cause);
  }
}

/** Work that was refused, whose error perhaps nobody saw. */
export interface RefusedWork {
  readonly error: OutsideTestError;
  /** The name of the unit of work. */
  readonly origin?: string | undefined;
  /** The test that it belongs to, of those that run at the same time, where that has ended. */
  readonly owner?: TestOwner | undefined;
  /** The name of the test that it belongs to, of those that run one after another. */
  readonly test?: string | undefined;
  /** The test that had run before. */
  readonly after?: string | undefined;
}

function usedBy(
  connectionName: string,
  reason: OutsideTestReason,
  { origin, test, after, waitedMs }: OutsideTestDetails,
): string {
  const who = origin ?? 'code that is in no context';
  const what =
    test === undefined ? WHAT[reason] : `which belongs to the test "${test}", which has ended`;
  const when = after === undefined ? '' : ` The test before was "${after}".`;
  const where = reason === 'test-ended' ? 'be a part of another test, or really' : 'really';
  const waited =
    waitedMs === undefined ? '' : ` It has waited ${waitedMs} ms (acquireTimeoutMs) for one.`;
  return (
    `Connection "${connectionName}" was used by ${who}, ${what}. What that writes would ${where} ` +
    `be committed, so it is refused.${waited}${when}`
  );
}

function adviceOn(reason: OutsideTestReason, name: string): string {
  return reason === 'left-out'
    ? `Add it to the option connections, or, where it may really commit, say committing: ['${name}'].`
    : ADVICE[reason];
}

/** What a unit of work is called, for messages. */
export function originOf(holder: Holder | undefined): string | undefined {
  const { origin } = (holder ?? {}) as { readonly origin?: unknown };
  return typeof origin === 'string' ? origin : undefined;
}

/** The error for work of a test that has ended, or of one that never was. */
export function refusalOf(
  connectionName: string,
  holder: Holder | undefined,
  owner: TestOwner,
): OutsideTestError {
  const reason = owner instanceof UnknownOwner ? 'unknown-test' : 'test-ended';
  return new OutsideTestError(connectionName, reason, {
    origin: originOf(holder),
    test: reason === 'unknown-test' ? undefined : owner.name,
  });
}
