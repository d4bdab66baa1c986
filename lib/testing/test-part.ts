import { LONGEST_LIMIT_MS } from '../connection/time-limit.js';
import type { KyselyTransaction } from '../session/kysely-transaction.js';
import type { SessionFactory } from '../session/session-factory.js';
import type { TransactionOwner, TransactionSource } from '../transaction/begin-plan.js';
import { Transaction } from '../transaction/transaction.js';
import { TestConnectionLostError, TestIsolationError } from './errors.js';
import type { SharedTransaction } from './shared-transaction.js';
import type { Layer } from './test-layer.js';

/** The shared transaction of one connection, with the transaction of the test itself in it. */
export interface TestPart {
  readonly shared: SharedTransaction;
  /** What is undone at the end. */
  readonly layer: Layer;
  readonly factory: SessionFactory;
  readonly transaction: Transaction;
  readonly context: KyselyTransaction;
}

/** Begins the transaction of the test itself, which sends nothing: its layer has begun. */
export async function partOf(
  shared: SharedTransaction,
  layer: Layer,
  factory: SessionFactory,
): Promise<TestPart> {
  const { connection } = factory;
  const { name, server, limits } = connection;
  const source: TransactionSource = {
    name,
    server: {
      ...server,
      // No statement ends the transaction of a test: what would is refused before it is sent.
      isRefusal: (error) =>
        error instanceof TestIsolationError ||
        error instanceof TestConnectionLostError ||
        server.isRefusal(error),
      mayHaveEnded: () => false,
    },
    // A test under a debugger may take any time.
    limits: { ...limits, transactionTimeoutMs: LONGEST_LIMIT_MS },
    transactionOptions: {},
    knownCode: { names: undefined },
    checkOut: ({ holder }) => Promise.resolve(shared.clientFor(holder)),
    onFailure: () => undefined,
    onStatement: (sql, tookMs) => connection.onStatement(sql, tookMs),
    report: connection.report,
  };
  // This transaction belongs to no session of the application, so it has none of the variables, the role
  // or the hooks of one.
  const statements = [{ sql: 'begin', values: [] }];
  const owner: TransactionOwner = {
    holder: layer.holder,
    plan: (settings) => ({ settings, statements, before: undefined, after: undefined }),
    plansAlone: true,
    planMisused: () => shared.refusal('its begin is under way.'),
    mayReadAhead: () => false,
    planOfRead: () => statements,
    announce: () => undefined,
  };
  const transaction = new Transaction(source, owner, {});
  try {
    await transaction.begin({});
  } catch (error) {
    await shared.end(layer);
    throw error;
  }
  return { shared, layer, factory, transaction, context: factory.contextOf(transaction) };
}
