import { DbContextError } from '../errors.js';

/**
 * A test asked something of a shared transaction that it cannot show truly. Nothing is simulated
 * wrongly in silence: what follows in the test is refused as well.
 *
 * @publicApi
 */
export class TestIsolationError extends DbContextError {
  constructor(
    readonly connectionName: string,
    reason: string,
  ) {
    super(
      'TEST_ISOLATION',
      `The shared test transaction on connection "${connectionName}" cannot show this: ${reason} Test ` +
        'it with separate, really committed sessions instead (createWorkerDatabase()).',
    );
  }
}
