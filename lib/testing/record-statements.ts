import { AssertionError } from 'node:assert';

import { statement } from '../telemetry/channels.js';
import { UNMASKED, type StatementEvent } from '../telemetry/operation-events.js';
import { DEFAULTS } from '../options/defaults.js';
import { TestRun } from './test-run.js';
import { connectionsOf, registryOf, type TestTarget } from './test-target.js';
import { whileListening } from './while-listening.js';

/** A statement that a session sent. */
export interface RecordedStatement {
  readonly sql: string;
  readonly connection: string;
}

/** Options of {@link recordStatements}. */
export interface RecordOptions {
  /**
   * Names of the connections.
   * @defaultValue all of the application
   */
  readonly connections?: readonly string[];
  /**
   * Whether the statements that control transactions count: BEGIN and its settings, savepoints, COMMIT
   * and ROLLBACK.
   * @defaultValue false
   */
  readonly withTransactions?: boolean;
}

/** What {@link expectStatements} demands: all statements in order, their number, or a limit to it. */
export type ExpectedStatements =
  | readonly (string | RegExp)[]
  | number
  | { readonly atMost: number };

const CONTROL =
  /^\s*(?:begin|start\s+transaction|commit|rollback|savepoint|release|set\s|select\s+set_config\()/i;

/**
 * Runs `work`, and records the statements that sessions sent meanwhile, in order. Transactions of forks
 * are recorded, too; statements of a fork that are in no transaction are not. It ends with the test, also
 * where `work` goes on.
 *
 * @throws what `work` throws
 * @publicApi
 */
export async function recordStatements(
  app: TestTarget,
  work: () => unknown,
  {
    connections,
    withTransactions = DEFAULTS.recordStatements.withTransactions,
  }: RecordOptions = {},
): Promise<readonly RecordedStatement[]> {
  const recordedOf = new Map<StatementEvent, readonly RecordedStatement[]>();
  const registry = registryOf(app);
  const isMine = TestRun.belonging(registry);
  const observed = new Set(connectionsOf(app, connections).map(({ telemetry }) => telemetry));
  const record = (event: StatementEvent): void => {
    if (event.kind !== 'question' && observed.has(event.connection) && isMine()) {
      const { name } = event.connection;
      const texts = event[UNMASKED].texts.filter((sql) => withTransactions || !CONTROL.test(sql));
      recordedOf.set(
        event,
        texts.map((sql) => ({ sql, connection: name })),
      );
    }
  };
  const forget = (event: StatementEvent): void => {
    if (!event.hasRun) {
      // It is sent again.
      recordedOf.delete(event);
    }
  };
  await whileListening(
    registry,
    (to) => {
      to.listen(statement.start, record);
      to.listen(statement.error, forget);
    },
    work,
  );
  return [...recordedOf.values()].flat();
}

/**
 * Runs `work`, and demands the statements that sessions sent meanwhile: an N+1 guard.
 *
 * @param expected each statement in order (as a string that is part of it, or a RegExp that matches it),
 *   their number, or the largest number
 * @returns what `work` returns
 * @throws AssertionError other statements were sent; the message lists them
 * @throws what `work` throws
 * @example
 * ```ts
 * await expectStatements(app, { atMost: 3 }, () => request(app.getHttpServer()).get('/orders'));
 * ```
 * @publicApi
 */
export async function expectStatements<T>(
  app: TestTarget,
  expected: ExpectedStatements,
  work: () => T | Promise<T>,
  options: RecordOptions = {},
): Promise<T> {
  const results: T[] = [];
  const recorded = await recordStatements(
    app,
    async () => {
      results.push(await work());
    },
    options,
  );
  const seen = recorded.map(({ sql }) => sql);
  if (!fits(seen, expected)) {
    throw new AssertionError({
      message: [
        `Expected ${describe(expected)}, and ${seen.length} were sent:`,
        ...seen.map((sql, index) => `  ${index + 1}. ${sql}`),
      ].join('\n'),
      actual: seen,
      expected,
      operator: 'expectStatements',
      stackStartFn: expectStatements,
    });
  }
  return results[0]!;
}

function fits(seen: readonly string[], expected: ExpectedStatements): boolean {
  if (typeof expected === 'number') {
    return seen.length === expected;
  }
  if ('atMost' in expected) {
    return seen.length <= expected.atMost;
  }
  return (
    seen.length === expected.length &&
    expected.every((each, index) =>
      typeof each === 'string' ? seen[index]!.includes(each) : each.test(seen[index]!),
    )
  );
}

function describe(expected: ExpectedStatements): string {
  if (typeof expected === 'number') {
    return `${expected} statements`;
  }
  return 'atMost' in expected
    ? `at most ${expected.atMost} statements`
    : `these ${expected.length} statements: ${expected.join(' | ')}`;
}
