import { AssertionError } from 'node:assert';

import { TestRouting } from './test-routing.js';
import { connectionsOf, type TestTarget } from './test-target.js';

/**
 * Demands that nothing is left checked out of the pools, and nobody waits for a connection. Inside of
 * a {@link TestTransaction}, that the application has no transaction open.
 *
 * @throws AssertionError with the counters of each pool in use
 * @publicApi
 */
export function expectNoOpenConnections(app: TestTarget): void {
  const left = connectionsOf(app).flatMap((connection) => {
    const shared = TestRouting.of(connection).openTransactions;
    const { checkedOut = 0, waiting = 0, size = 0 } = connection.poolState() ?? {};
    const open = shared ?? checkedOut;
    return open + waiting === 0
      ? []
      : [`"${connection.name}": ${open} in use, ${waiting} waiting (pool of ${size})`];
  });
  if (left.length > 0) {
    throw new AssertionError({
      message: `Expected no connection to be in use. ${left.join('; ')}`,
      operator: 'expectNoOpenConnections',
      stackStartFn: expectNoOpenConnections,
    });
  }
}
