import {
  dbContextChannels,
  type AcquireEvent,
  type ConnectionInfo,
  type ConnectionUse,
  type ContextInfo,
  type PoolReleaseEvent,
  type RetryEvent,
  type StatementEvent,
  type TransactionEndEvent,
  type TransactionInfo,
} from '../telemetry/index.js';
import { errorOfWait, FailedStatements, failureOf, type Failure } from './failures.js';
import { LabelSets } from './label-sets.js';
import type { CounterName, GaugeName, Labels, MetricSink, Reading } from './metrics.js';
import { PoolReadings } from './pool-readings.js';
import { Subscriptions, type ListenerFailed } from '../telemetry/subscriptions.js';

/** A transaction that has not ended. */
type OpenTransaction = Pick<TransactionInfo, 'connection' | 'startedAt'>;

/** Counts what the library publishes, and writes it to a sink. It is all that Prometheus and OpenTelemetry share. */
export class MetricsListener {
  readonly #sink: MetricSink;
  readonly #subscriptions: Subscriptions;
  readonly #pools: PoolReadings;
  readonly #failed = new FailedStatements();
  readonly #contexts = new Set<ContextInfo>();
  /** Also reads ahead of the first write, which are transactions by themselves. */
  readonly #transactions = new Map<TransactionInfo | ConnectionUse, OpenTransaction>();
  readonly #labels = new LabelSets();

  /** @param pools what is known from an earlier time */
  constructor(sink: MetricSink, failed: ListenerFailed, pools = new PoolReadings()) {
    this.#sink = sink;
    this.#pools = pools;
    this.#subscriptions = new Subscriptions(failed);
  }

  /** Listens from now on. */
  start(): void {
    const channels = dbContextChannels;
    const to = this.#subscriptions;
    to.listen(channels.contextOpen, ({ context }) => void this.#contexts.add(context));
    to.listen(channels.contextEnd, ({ context }) => void this.#contexts.delete(context));
    to.listen(channels.transactionStart, ({ transaction }) => this.#started(transaction));
    to.listen(channels.transactionEnd, (event) => this.#ended(event));
    to.listen(channels.statement.asyncEnd, (event) => this.#answered(event));
    to.listen(channels.savepointEnd, ({ transaction }) => this.#failed.undone(transaction));
    to.listen(channels.acquire.start, (event) => this.#asked(event));
    to.listen(channels.acquire.asyncEnd, (event) => this.#acquired(event));
    to.listen(channels.poolRelease, (event) => this.#released(event));
    to.listen(channels.connectionClose, ({ connection }) => this.#closed(connection));
    to.listen(channels.retry, (event) => this.#retried(event));
  }

  stop(): void {
    this.#subscriptions.end();
  }

  /**
   * The counters of the connections that are open which begin at 0: what alerts ask for is there from the
   * beginning, so that the first event is an increase.
   */
  get zeros(): readonly (readonly [CounterName, Labels])[] {
    return [...new Set(this.#pools.names)].flatMap((name) => this.#zerosOf(name));
  }

  /** A gauge as it is now. */
  read(name: GaugeName): readonly Reading[] {
    switch (name) {
      case 'db_context.active_contexts':
        return [{ labels: this.#labels.of(), value: this.#contexts.size }];
      case 'db_context.active_transactions':
        return this.#ofTransactions((sum) => sum + 1);
      case 'db_context.oldest_transaction.age':
        return this.#oldest();
      default:
        return this.#pools.read(name);
    }
  }

  #oldest(): readonly Reading[] {
    const now = performance.now();
    return this.#ofTransactions((most, { startedAt = now }) =>
      Math.max(most, (now - startedAt) / 1_000),
    );
  }

  /** A value for each connection, zero where it has no transaction. */
  #ofTransactions(
    next: (value: number, transaction: OpenTransaction) => number,
  ): readonly Reading[] {
    const values = new Map(this.#pools.names.map((name) => [name, 0]));
    for (const transaction of this.#transactions.values()) {
      const { name } = transaction.connection;
      values.set(name, next(values.get(name) ?? 0, transaction));
    }
    return [...values].map(([name, value]) => ({ labels: this.#labels.of(name), value }));
  }

  #started(transaction: TransactionInfo): void {
    this.#transactions.set(transaction, transaction);
    this.#know(transaction.connection);
  }

  #asked({ connection, use, startedAt }: AcquireEvent): void {
    this.#know(connection);
    if (use?.kind === 'read') {
      this.#transactions.set(use, { connection, startedAt });
    }
  }

  #know(connection: ConnectionInfo): void {
    if (this.#pools.know(connection)) {
      this.#zerosOf(connection.name).forEach(([name, labels]) => this.#sink.zero(name, labels));
    }
  }

  #closed(connection: ConnectionInfo): void {
    this.#pools.forget(connection);
    if (!this.#pools.names.includes(connection.name)) {
      this.#labels.forget(connection.name);
    }
  }

  #zerosOf(pool: string): readonly (readonly [CounterName, Labels])[] {
    const ofPool = this.#labels.of(pool);
    const unknown = { type: 'COMMIT_OUTCOME_UNKNOWN', sqlState: undefined };
    const retries = ['40001', '40P01'].map((sqlState) =>
      this.#labels.of(undefined, undefined, { type: sqlState, sqlState }),
    );
    return [
      ['db.client.connection.timeouts', ofPool],
      ['db_context.pool_deadlocks', ofPool],
      ['db_context.transactions', this.#labels.of(pool, 'unknown', unknown)],
      ...retries.map((labels) => ['db_context.retries', labels] as const),
    ];
  }

  #ended(event: TransactionEndEvent): void {
    const { transaction, outcome, durationMs } = event;
    this.#transactions.delete(transaction);
    this.#count(transaction.connection.name, outcome, durationMs, this.#failed.reasonOf(event));
  }

  #answered(event: StatementEvent): void {
    this.#failed.ended(event);
    const { connection, error, use, kind, hasRun } = event;
    if (use?.kind === 'read' && kind === 'statement' && hasRun) {
      const outcome = error === undefined ? 'committed' : 'rolled-back';
      this.#readEnded(use, outcome, { connection, error, startedAt: event.startedAt });
    }
  }

  /** A read ahead has ended, or has got no connection. */
  #readEnded(
    use: ConnectionUse,
    outcome: 'committed' | 'rolled-back',
    { connection, error, startedAt }: Pick<AcquireEvent, 'connection' | 'error' | 'startedAt'>,
  ): void {
    const since = this.#transactions.get(use)?.startedAt ?? startedAt;
    this.#transactions.delete(use);
    this.#count(connection.name, outcome, performance.now() - since, error && failureOf(error));
  }

  #count(
    pool: string,
    outcome: string,
    durationMs: number | undefined,
    reason: Failure | undefined,
  ): void {
    const labels = this.#labels.of(pool, outcome);
    const counted = reason === undefined ? labels : this.#labels.of(pool, outcome, reason);
    this.#sink.count('db_context.transactions', counted);
    if (durationMs !== undefined) {
      this.#sink.record('db_context.transaction.duration', labels, durationMs / 1_000);
    }
  }

  #acquired(event: AcquireEvent): void {
    const { connection, durationMs, error, use, startedAt } = event;
    if (error !== undefined && use?.kind === 'read') {
      this.#readEnded(use, 'rolled-back', { connection, error: errorOfWait(event), startedAt });
    }
    const labels = this.#labels.of(connection.name);
    if (error === undefined && durationMs !== undefined) {
      this.#sink.record('db.client.connection.wait_time', labels, durationMs / 1_000);
    } else if (error?.code === 'ACQUIRE_TIMEOUT') {
      this.#sink.count('db.client.connection.timeouts', labels);
    } else if (error?.code === 'POOL_DEADLOCK') {
      this.#sink.count('db_context.pool_deadlocks', labels);
    }
  }

  #released({ connection, usedMs, use }: PoolReleaseEvent): void {
    if (use !== undefined) {
      // One that has sent nothing: the statement is to be sent in the transaction itself.
      this.#transactions.delete(use);
    }
    if (usedMs !== undefined) {
      const labels = this.#labels.of(connection.name);
      this.#sink.record('db.client.connection.use_time', labels, usedMs / 1_000);
    }
  }

  #retried({ error }: RetryEvent): void {
    const labels = this.#labels.of(undefined, undefined, error && failureOf(error));
    this.#sink.count('db_context.retries', labels);
  }
}
