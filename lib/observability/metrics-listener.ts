import {
  dbContextChannels,
  type AcquireEvent,
  type ContextInfo,
  type PoolReleaseEvent,
  type RetryEvent,
  type StatementEvent,
  type TransactionEndEvent,
  type TransactionInfo,
} from '../telemetry/index.js';
import { FailedStatements, failureOf, type Failure } from './failures.js';
import { LabelSets } from './label-sets.js';
import type { GaugeName, MetricSink, Reading } from './metrics.js';
import { PoolReadings } from './pool-readings.js';
import { isWholeTransaction } from './single-read.js';
import { Subscriptions, type ListenerFailed } from './subscriptions.js';

/** Counts what the library publishes, and writes it to a sink. It is all that Prometheus and OpenTelemetry share. */
export class MetricsListener {
  readonly #sink: MetricSink;
  readonly #subscriptions: Subscriptions;
  readonly #pools = new PoolReadings();
  readonly #failed = new FailedStatements();
  readonly #contexts = new Set<ContextInfo>();
  readonly #transactions = new Set<TransactionInfo>();
  /** The connections of all transactions so far, of which those without any now have a zero. */
  readonly #connectionNames = new Set<string>();
  readonly #labels = new LabelSets();

  constructor(sink: MetricSink, failed: ListenerFailed) {
    this.#sink = sink;
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
    to.listen(channels.acquire.start, ({ connection }) => this.#pools.know(connection));
    to.listen(channels.acquire.asyncEnd, (event) => this.#acquired(event));
    to.listen(channels.poolRelease, (event) => this.#released(event));
    to.listen(channels.retry, (event) => this.#retried(event));
  }

  stop(): void {
    this.#subscriptions.end();
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
    next: (value: number, transaction: TransactionInfo) => number,
  ): readonly Reading[] {
    const values = new Map([...this.#connectionNames].map((name) => [name, 0]));
    for (const transaction of this.#transactions) {
      const { name } = transaction.connection;
      values.set(name, next(values.get(name)!, transaction));
    }
    return [...values].map(([name, value]) => ({ labels: this.#labels.of(name), value }));
  }

  #started(transaction: TransactionInfo): void {
    this.#transactions.add(transaction);
    this.#connectionNames.add(transaction.connection.name);
    this.#pools.know(transaction.connection);
  }

  #ended(event: TransactionEndEvent): void {
    const { transaction, outcome, durationMs } = event;
    this.#transactions.delete(transaction);
    this.#count(transaction.connection.name, outcome, durationMs, this.#failed.reasonOf(event));
  }

  #answered(event: StatementEvent): void {
    this.#failed.ended(event);
    if (event.hasRun && isWholeTransaction(event)) {
      const { connection, error, durationMs } = event;
      const outcome = error === undefined ? 'committed' : 'rolled-back';
      this.#count(connection.name, outcome, durationMs, error && failureOf(error));
    }
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

  #acquired({ connection, durationMs, error }: AcquireEvent): void {
    const labels = this.#labels.of(connection.name);
    if (error === undefined && durationMs !== undefined) {
      this.#sink.record('db.client.connection.wait_time', labels, durationMs / 1_000);
    } else if (error?.code === 'ACQUIRE_TIMEOUT') {
      this.#sink.count('db.client.connection.timeouts', labels);
    } else if (error?.code === 'POOL_DEADLOCK') {
      this.#sink.count('db_context.pool_deadlocks', labels);
    }
  }

  #released({ connection, usedMs }: PoolReleaseEvent): void {
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
