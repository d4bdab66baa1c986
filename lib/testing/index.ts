/**
 * Tests that share one transaction with the application, also at the same time, see docs/testing.md.
 *
 * @packageDocumentation
 */
export { captureOnCommit, type CaptureOptions } from './capture-on-commit.js';
export type {
  ConcurrentTest,
  RegisterConcurrentTest,
  RegisterTest,
  RowArguments,
  RunnerTestOptions,
} from './concurrent-test-function.js';
export type { ConcurrentTestTransactions } from './concurrent-test-transactions.js';
export { provideTestDbContext, provideTestRepository, provideTestSession } from './doubles.js';
export { TestConnectionLostError, TestIsolationError, TestTimeoutError } from './errors.js';
export { expectNoOpenConnections } from './expect-no-open-connections.js';
export {
  expectCommitted,
  expectRolledBack,
  recordContexts,
  type EndedContext,
} from './record-contexts.js';
export {
  expectStatements,
  recordStatements,
  type ExpectedStatements,
  type RecordedStatement,
  type RecordOptions,
} from './record-statements.js';
export {
  OutsideTestError,
  type OutsideTestDetails,
  type OutsideTestReason,
} from './outside-test-error.js';
export type { KeptRows } from './kept-rows.js';
export { KeptRowsError } from './kept-rows-error.js';
export { openRollbackSession, type RollbackSession } from './rollback-session.js';
export type { TestTransactionOptions } from './test-connections.js';
export { openTestContext, type TestContext } from './test-context.js';
export type { Hook, RunnerHooks } from './runner-hooks.js';
export { TestDbContext, type TestOutcome, type TestSessions } from './test-db-context.js';
export type { BlockSetUp } from './test-blocks.js';
export type { TestAgent, TestAnswer, TestCall, TestRequests } from './test-requests.js';
export type { OutsideMode } from './test-watch.js';
export type { KeepOptions } from './row-keeper.js';
export type { TestTarget } from './test-target.js';
export { TestTransaction } from './test-transaction.js';
export {
  useTestTransaction,
  type CurrentTestTransaction,
  type UseTestTransactionOptions,
} from './use-test-transaction.js';
export {
  templateOf,
  type TemplateMigrations,
  type TemplateOrmOptions,
  type TemplateSources,
} from './worker-database/template-of.js';
export {
  createWorkerDatabase,
  type TemplateOptions,
  type WorkerDatabase,
  type WorkerDatabaseOptions,
} from './worker-database/worker-database.js';
export {
  WorkerDatabaseError,
  WrongDatabaseError,
  type WorkerDatabaseStep,
} from './worker-database/worker-database-error.js';
