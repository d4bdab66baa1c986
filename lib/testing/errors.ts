import { DbContextError } from '../errors.js';

/**
 * A test did something that a shared transaction cannot show as it would be in production. Rather than
 * show something else, it refuses that and all later statements of the test.
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
 * connection of its own, or its body is still at work. Its transactions are rolled back. Or the transaction of
 * a test could not begin, since a fake clock holds it back, or the begin of the test before.
 *
 * @publicApi
 */
export class TestTimeoutError extends DbContextError {
  constructor(message: string) {
    super('TEST_TIMEOUT', message);
  }
}

/**
 * The connection of a test was lost, and its transaction with it: all that the test has done, and the data of
 * the blocks around it. Nothing more is sent: the rest of the test, and the later tests of its blocks, get this
 * error at once. The first test after them has a connection of its own again.
 *
 * @publicApi
 */
export class TestConnectionLostError extends DbContextError {
  constructor(
    readonly connectionName: string,
    /** What has ended it, as the server or the driver says it. */
    override readonly cause: Error,
  ) {
    super(
      'TEST_CONNECTION_LOST',
      `The connection "${connectionName}" of the test was lost: ${cause.message}. The test's transaction is ` +
        'lost with it, so the rest of this test, and of the block whose data it shares, cannot run. Where a test ' +
        'is to end connections, let it have separate, really committed sessions (createWorkerDatabase()); ' +
        'otherwise the log of the server says more.',
      cause,
    );
  }
}
