import { context, diag, trace, type Context, type TracerProvider } from '@opentelemetry/api';

import { errorTypeOf, FailedStatements, failureOf } from '../observability/failures.js';
import { isWholeTransaction } from '../observability/single-read.js';
import { Subscriptions } from '../observability/subscriptions.js';
import {
  dbContextChannels,
  type AcquireEvent,
  type EventOrigin,
  type RetryEvent,
  type StatementEvent,
  type TransactionEndEvent,
  type TransactionInfo,
} from '../telemetry/index.js';
import { ActiveContext } from './active-context.js';
import {
  ISOLATION_LEVEL,
  ORIGIN,
  originOf,
  READ_ONLY,
  RETRIES,
  SERVER_PROCESS_ID,
} from './attributes.js';
import { RetryCounts } from './retry-counts.js';
import { SCOPE_NAME, SCOPE_VERSION } from './scope.js';
import { OWN_DECISION, TransactionSpan } from './transaction-span.js';

/** What of the spans is up to the user. */
export interface SpanOptions {
  readonly errorMessages: boolean;
}

function activeContext(): Context {
  return context.active();
}

/** Makes a span of each transaction, in which its statements are sent. */
export class TransactionSpans {
  readonly #provider: TracerProvider;
  readonly #options: SpanOptions;
  readonly #spans = new Map<TransactionInfo, TransactionSpan>();
  readonly #reads = new Map<StatementEvent, TransactionSpan>();
  readonly #failed = new FailedStatements();
  readonly #retries = new RetryCounts();
  readonly #subscriptions = new Subscriptions((error) =>
    diag.error('nestjs-db-context: a span could not be written', error),
  );

  constructor(provider: TracerProvider, options: SpanOptions) {
    this.#provider = provider;
    this.#options = options;
  }

  start(): void {
    const channels = dbContextChannels;
    const to = this.#subscriptions;
    const store = new ActiveContext();
    to.listen(channels.transactionStart, ({ transaction }) => this.#started(transaction));
    to.listen(channels.transactionEnd, (event) => this.#ended(event));
    to.listen(channels.acquire.asyncEnd, (event) => this.#acquired(event));
    to.listen(channels.poolWait, (event) => this.#spanOf(event)?.waits(event));
    to.listen(channels.statement.start, (event) => this.#sent(event));
    to.listen(channels.statement.asyncEnd, (event) => this.#answered(event));
    to.listen(channels.savepointSet, ({ transaction, name }) =>
      this.#spans.get(transaction)?.savepoint('set', name),
    );
    to.listen(channels.savepointEnd, ({ transaction, name, outcome }) => {
      this.#failed.undone(transaction);
      this.#spans.get(transaction)?.savepoint('end', name, outcome);
    });
    to.listen(channels.retry, (event) => this.#retried(event));
    to.listen(channels.contextOpen, (event) => this.#retries.opened(event.context));
    to.bind(channels.acquire.start, store, (event) => this.#contextOf(event), activeContext);
    to.bind(
      channels.statement.start,
      store,
      (event) => this.#contextOfStatement(event),
      activeContext,
    );
  }

  /** Ends with all spans that are open. */
  stop(): void {
    this.#subscriptions.end();
    for (const span of [...this.#spans.values(), ...this.#reads.values()]) {
      span.end();
    }
    this.#spans.clear();
    this.#reads.clear();
  }

  /** Asked for each time: the global provider may be registered later. */
  #newSpan(connection: TransactionInfo['connection']): TransactionSpan {
    return new TransactionSpan(this.#provider.getTracer(SCOPE_NAME, SCOPE_VERSION), connection);
  }

  #spanOf({ transaction }: Pick<EventOrigin, 'transaction'>): TransactionSpan | undefined {
    return transaction && this.#spans.get(transaction);
  }

  #contextOf(event: EventOrigin): Context {
    return this.#spanOf(event)?.context ?? context.active();
  }

  #contextOfStatement(event: StatementEvent): Context {
    if (isWholeTransaction(event)) {
      const span = this.#newSpan(event.connection);
      this.#reads.set(event, span);
      return span.context;
    }
    return this.#contextOf(event);
  }

  #started(transaction: TransactionInfo): void {
    const span = this.#newSpan(transaction.connection);
    this.#spans.set(transaction, span);
    span.set(RETRIES, this.#retries.of(transaction));
  }

  #acquired(event: AcquireEvent): void {
    if (event.error === undefined && event.durationMs !== undefined) {
      this.#spanOf(event)?.acquired(event.durationMs);
    }
  }

  #sent(event: StatementEvent): void {
    if (event.kind === 'statement') {
      this.#spanOf(event)?.statementSent();
    }
  }

  #answered(event: StatementEvent): void {
    this.#failed.ended(event);
    if (event.kind === 'statement' && !event.hasRun) {
      // It is sent again.
      this.#spanOf(event)?.statementUnsent();
    }
    const read = this.#reads.get(event);
    if (read !== undefined) {
      this.#reads.delete(event);
      this.#readEnded(read, event);
    }
  }

  #readEnded(span: TransactionSpan, { context: unit, error, hasRun }: StatementEvent): void {
    if (hasRun) {
      span.statementSent();
    }
    const origin = originOf(unit);
    span.end({
      outcome: error === undefined ? 'committed' : 'rolled-back',
      reason: error && failureOf(error),
      because: OWN_DECISION,
      at: performance.now(),
      error: this.#options.errorMessages ? error : undefined,
      attributes: { [READ_ONLY]: true, ...(origin !== undefined && { [ORIGIN]: origin }) },
    });
  }

  #ended(event: TransactionEndEvent): void {
    const { transaction, outcome, endedBy, error } = event;
    const span = this.#spans.get(transaction);
    if (span === undefined) {
      return;
    }
    this.#spans.delete(transaction);
    const { isolationLevel, isReadOnly, processId, context: unit } = transaction;
    const origin = originOf(unit);
    span.end({
      outcome,
      reason: this.#failed.reasonOf(event),
      because: endedBy?.code ?? OWN_DECISION,
      at: performance.now(),
      error: this.#options.errorMessages ? error : undefined,
      attributes: {
        ...(origin !== undefined && { [ORIGIN]: origin }),
        ...(isolationLevel !== undefined && { [ISOLATION_LEVEL]: isolationLevel }),
        ...(isReadOnly !== undefined && { [READ_ONLY]: isReadOnly }),
        ...(processId !== undefined && { [SERVER_PROCESS_ID]: processId }),
      },
    });
  }

  #retried(event: RetryEvent): void {
    this.#retries.retried(event);
    const { attempt, pauseMs, error } = event;
    const failure = error && failureOf(error);
    // The work goes on in the span of the request, in which its attempts are side by side.
    trace.getActiveSpan()?.addEvent('db_context.retry', {
      [RETRIES]: attempt,
      'db_context.pause': pauseMs / 1_000,
      ...(failure !== undefined && { 'error.type': errorTypeOf(failure) }),
    });
  }
}
