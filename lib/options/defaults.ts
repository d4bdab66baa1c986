import type { CheckOptions } from '../connection/connection-health.js';
import type { ResolvedLimits } from '../connection/connection-limits.js';
import type { GlobalEntityManagerMode } from '../connection/connection-settings.js';
import type { ResetMode } from '../connection/session-reset.js';
import { commitOnSuccess } from './commit-on-success.js';
import type { DbContextOptions } from './context-options.js';
import type { FailoverOptions } from './failover-options.js';
import type { ReadFromOptions, ReadYourWritesOptions } from './replica-options.js';
import type { RetryOptions } from './retry-options.js';
import type { WatchOptions } from './watch-options.js';

/** Options without a default: leaving them out is not the same as any value. */
type OptionWithoutDefault = 'beforeCommit' | 'contextTimeoutMs' | 'readOnlyMethods';

/** The name of a connection for which no name is given. */
export const DEFAULT_CONNECTION_NAME = 'default';

/**
 * The default of every option that has one, nested as the options are. A few defaults are computed
 * where they are used, and only there: whether `watch` is on (by `NODE_ENV`), `concurrency` of
 * `runAllInNewContexts()` (by the size of the pools), `name` of `readYourWrites` (by the name of the
 * connection), and `workerId` of `createWorkerDatabase()` (by the environment of the test runner).
 */
export const DEFAULTS = {
  // The options of forRoot() for all contexts.
  mount: 'interceptor',
  commitOn: commitOnSuccess,
  flush: 'handler',
  onDisconnect: 'finish',
  serializeFirst: false,
  hookTimeoutMs: 10_000,
  shutdownTimeoutMs: 10_000,
  watch: { contextOpenMs: 10_000, idleInTransactionMs: 1_000 },

  // The options of a connection.
  limits: {
    acquireTimeoutMs: 10_000,
    deadlockTimeoutMs: 1_000,
    transactionTimeoutMs: 60_000,
    drainTimeoutMs: 5_000,
    endTimeoutMs: 10_000,
    savepointTimeoutMs: 30_000,
    hostDrainTimeoutMs: 30_000,
  },
  resetOnRelease: 'auto',
  globalEntityManager: 'session',
  failover: { timeoutMs: 2_000, cacheMs: 5_000 },
  readFrom: { choose: 'round-robin', fallback: 'primary', retryAfterMs: 10_000 },
  readYourWrites: { waitMs: 100, maxAgeSeconds: 60, secure: false },

  // The options of single calls.
  check: { timeoutMs: 1_000 },
  pingCheck: { maxWaiting: Infinity },
  retry: { backoffMs: 20 },
  atomic: { current: 'commit' },
  committedQueue: { sendTimeoutMs: 5_000 },
  stream: { timeoutMs: 600_000 },
  captureOnCommit: { execute: false },
  recordStatements: { withTransactions: false },
  createWorkerDatabase: { version: '', reuse: false, prepareTimeoutMs: 60_000 },
  useTestTransaction: { outside: 'refuse', concurrent: false },
} as const satisfies Required<Omit<DbContextOptions, OptionWithoutDefault>> & {
  readonly watch: Required<WatchOptions>;
  readonly limits: ResolvedLimits;
  readonly resetOnRelease: ResetMode;
  readonly globalEntityManager: GlobalEntityManagerMode;
  readonly failover: Required<Omit<FailoverOptions, 'hosts'>>;
  readonly readFrom: Required<ReadFromOptions>;
  readonly readYourWrites: Required<Omit<ReadYourWritesOptions, 'via' | 'name'>>;
  readonly check: Required<CheckOptions>;
  readonly retry: Required<Omit<RetryOptions, 'attempts'>>;
} & Readonly<Record<string, unknown>>;
