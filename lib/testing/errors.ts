import { DbContextError } from '../errors.js';

/**
 * A test did something that a shared transaction cannot show as it would be in production. Rather than
 * show something else, it refuses that and all later statements of the test (T1).
 *
 * @publicApi
 */
export class TestIsolationError extends DbContextError {
  constructor(
    readonly connectionName: string,
    reason: string,
    cause?: unknown,
  ) {
    super(
      'TEST_ISOLATION',
      `The shared test transaction on connection "${connectionName}" cannot show this: ${reason} Test ` +
        'it with separate, really committed sessions instead (createWorkerDatabase()).',
      cause,
    );
  }
}

/**
 * A test of those that run at the same time took longer than the test runner lets it: it waited for a
 * connection of its own, or its body is still at work. Its transactions are rolled back.
 *
 * @publicApi
 */
export class TestTimeoutError extends DbContextError {
  constructor(message: string) {
    super('TEST_TIMEOUT', message);
  }
}
