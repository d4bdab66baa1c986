import type { DbConnection } from '../connection/db-connection.js';
import { InvalidOptionsError } from '../errors.js';
import { connectionsOf, type TestTarget } from './test-target.js';

/**
 * Which connections of an application a test shares with it.
 *
 * @publicApi
 */
export interface TestTransactionOptions {
  /**
   * Names of the connections whose transaction the test and the application share.
   * @defaultValue all of the application but those of `committing`
   */
  readonly connections?: readonly string[];
  /**
   * Names of connections that are left out, and whose work is really committed. Those that are named
   * neither here nor in `connections` are refused.
   * @defaultValue none
   */
  readonly committing?: readonly string[];
}

/** The connections of an application that tests are concerned with. */
export interface TestConnections {
  readonly shared: readonly DbConnection[];
  /** Those that are neither shared nor may commit. */
  readonly leftOut: readonly DbConnection[];
}

/** @throws {@link UnknownConnectionError} */
export function testConnectionsOf(
  app: TestTarget,
  { connections, committing = [] }: TestTransactionOptions,
): TestConnections {
  const mayCommit = new Set(connectionsOf(app, committing));
  const isNamed = connections && new Set(connectionsOf(app, connections));
  const all = connectionsOf(app).filter((each) => !mayCommit.has(each));
  return {
    shared: all.filter((each) => isNamed?.has(each) ?? true),
    leftOut: all.filter((each) => isNamed?.has(each) === false),
  };
}

/** @throws {@link InvalidOptionsError} a connection is to be shared and to commit */
export function checkTestConnections({
  connections = [],
  committing = [],
}: TestTransactionOptions): void {
  const both = connections.find((name) => committing.includes(name));
  if (both !== undefined) {
    throw new InvalidOptionsError(
      `The connection "${both}" is named both in connections and in committing. Share its transaction ` +
        'with the test (connections), or let it really commit (committing).',
    );
  }
}
