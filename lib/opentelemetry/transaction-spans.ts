import { context, diag, trace, type Context, type TracerProvider } from '@opentelemetry/api';

import {
  errorOfWait,
  errorTypeOf,
  FailedStatements,
  failureOf,
} from '../observability/failures.js';
import { Subscriptions } from '../telemetry/subscriptions.js';
import {
  dbContextChannels,
  type AcquireEvent,
  type ConnectionInfo,
  type ConnectionUse,
  type ContextInfo,
  type EndedBy,
  type ErrorInfo,
  type EventOrigin,
  type PoolReleaseEvent,
  type RetryEvent,
  type StatementEvent,
  type TransactionEndEvent,
  type TransactionInfo,
} from '../telemetry/index.js';
import { ActiveContext } from './active-context.js';
import {
  ISOLATION_LEVEL,
  originsOf,
  READ_ONLY,
  RETRIES,
  SERVER_PROCESS_ID,
  type SpanOperation,
} from './attributes.js';
import { RetryCounts } from './retry-counts.js';
import { SCOPE_NAME, SCOPE_VERSION } from './scope.js';
import { SPAN_EVENTS } from './span-events.js';
import { OWN_DECISION, TransactionSpan } from './transaction-span.js';

/** What of the spans is up to the user. */
export interface SpanOptions {
  readonly errorMessages: boolean;
}

/** The span of a use of a connection outside of the transaction of a session. */
interface UseSpan {
  readonly span: TransactionSpan;
  hasSent: boolean;
  /** Why its last statement has failed. */
  error: ErrorInfo | undefined;
}

/** How such a use has ended. */
interface UseEnd extends Pick<UseSpan, 'hasSent' | 'error'> {
  /** What has ended its unit of work while it waited for its connection. */
  readonly endedBy?: EndedBy | undefined;
}

function activeContext(): Context {
  return context.active();
}

/** Makes a span of each transaction, in which its statements are sent. */
export class TransactionSpans {
  readonly #providerNow: () => TracerProvider;
  readonly #options: SpanOptions;
  readonly #spans = new Map<TransactionInfo, TransactionSpan>();
  readonly #uses = new Map<ConnectionUse, UseSpan>();
  readonly #failed = new FailedStatements();
  readonly #retries = new RetryCounts();
  readonly #subscriptions = new Subscriptions((error) =>
    diag.error('nestjs-db-context: a span could not be written', error),
  );

  /** @param providerNow is asked for each span: the global provider may be registered later, or be replaced */
  constructor(providerNow: () => TracerProvider, options: SpanOptions) {
    this.#providerNow = providerNow;
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
      this.#spans.get(transaction)?.savepointSet(name),
    );
    to.listen(channels.savepointEnd, ({ transaction, name, outcome }) => {
      this.#failed.undone(transaction);
      this.#spans.get(transaction)?.savepointEnded(name, outcome);
    });
    to.listen(channels.retry, (event) => this.#retried(event));
    to.listen(channels.contextOpen, (event) => this.#retries.opened(event.context));
    to.listen(channels.poolRelease, (event) => this.#released(event));
    to.bind(channels.acquire.start, store, (event) => this.#contextOfWait(event), activeContext);
    to.bind(channels.lend.start, store, (event) => this.#contextOf(event), activeContext);
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
    this.#spans.forEach((span) => span.end());
    this.#uses.forEach(({ span }) => span.end());
    this.#spans.clear();
    this.#uses.clear();
  }

  #newSpan(connection: ConnectionInfo, operation?: SpanOperation): TransactionSpan {
    const tracer = this.#providerNow().getTracer(SCOPE_NAME, SCOPE_VERSION);
    return new TransactionSpan(tracer, connection, operation);
  }

  #spanOf({
    transaction,
    use,
  }: Pick<EventOrigin, 'transaction' | 'use'>): TransactionSpan | undefined {
    return transaction === undefined
      ? use && this.#uses.get(use)?.span
      : this.#spans.get(transaction);
  }

  #contextOf(event: EventOrigin): Context {
    return this.#spanOf(event)?.context ?? context.active();
  }

  #contextOfWait(event: AcquireEvent): Context {
    const { use, connection } = event;
    if (use !== undefined) {
      const span = this.#newSpan(connection, use.kind === 'read' ? 'TRANSACTION' : 'AUTOCOMMIT');
      this.#uses.set(use, { span, hasSent: false, error: undefined });
    }
    return this.#contextOf(event);
  }

  #contextOfStatement(event: StatementEvent): Context {
    // Code that has the client itself is in the span of the transaction, or in one of its own there.
    return event.isLent ? context.active() : this.#contextOf(event);
  }

  #started(transaction: TransactionInfo): void {
    const span = this.#newSpan(transaction.connection);
    this.#spans.set(transaction, span);
    span.set(RETRIES, this.#retries.of(transaction));
  }

  #acquired(event: AcquireEvent): void {
    const { durationMs, error, use } = event;
    if (error === undefined && durationMs !== undefined) {
      this.#spanOf(event)?.acquired(durationMs);
    } else if (error !== undefined && use !== undefined) {
      const { context: unit, endedBy } = event;
      this.#useEnded(use, unit, { hasSent: true, error: errorOfWait(event), endedBy });
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
    const used = event.use && this.#uses.get(event.use);
    if (used !== undefined && event.kind === 'statement') {
      used.hasSent = true;
      used.error = event.error;
    }
  }

  #released({ use, context: unit }: PoolReleaseEvent): void {
    const used = use && this.#uses.get(use);
    if (use !== undefined && used !== undefined) {
      this.#useEnded(use, unit, used);
    }
  }

  /** Ends the span of a use, with what has come of its statement. */
  #useEnded(
    use: ConnectionUse,
    unit: ContextInfo | undefined,
    { hasSent, error, endedBy }: UseEnd,
  ): void {
    const { span } = this.#uses.get(use) ?? {};
    this.#uses.delete(use);
    const { processId, kind } = use;
    const isCommitted = error === undefined && endedBy === undefined;
    const outcome = hasSent ? (isCommitted ? 'committed' : 'rolled-back') : 'untouched';
    span?.end({
      outcome: kind === 'read' ? outcome : undefined,
      reason: error && failureOf(error),
      because: endedBy?.code ?? OWN_DECISION,
      at: performance.now(),
      error: this.#options.errorMessages ? error : undefined,
      attributes: {
        ...originsOf(unit),
        ...(kind === 'read' && { [READ_ONLY]: true }),
        ...(processId !== undefined && { [SERVER_PROCESS_ID]: processId }),
      },
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
    span.end({
      outcome,
      reason: this.#failed.reasonOf(event),
      because: endedBy?.code ?? OWN_DECISION,
      at: performance.now(),
      error: this.#options.errorMessages ? error : undefined,
      attributes: {
        ...originsOf(unit),
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
    trace.getActiveSpan()?.addEvent(SPAN_EVENTS.retry, {
      [RETRIES]: attempt,
      'db_context.pause': pauseMs / 1_000,
      ...(failure !== undefined && { 'error.type': errorTypeOf(failure) }),
    });
  }
}
