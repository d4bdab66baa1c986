import {
  context,
  SpanKind,
  SpanStatusCode,
  trace,
  type Attributes,
  type Context,
  type Span,
  type Tracer,
} from '@opentelemetry/api';

import { errorTypeOf, type Failure } from '../observability/failures.js';
import { ERROR_TYPE, OUTCOME } from '../observability/metrics.js';
import type { ConnectionInfo, ErrorInfo, PoolEvent } from '../telemetry/index.js';
import {
  attributesOf,
  DB_RESPONSE_STATUS_CODE,
  EXCEPTION_MESSAGE,
  REASON,
  SAVEPOINT,
  STATEMENTS,
  WAIT_TIME,
  type SpanOperation,
} from './attributes.js';
import { SPAN_EVENTS } from './span-events.js';

/** Why a transaction is not committed where its own code decided that: it threw, or called `rollback()`. */
export const OWN_DECISION = 'application';

/** How a transaction has ended. */
export interface SpanEnd {
  /** `undefined` for statements in no transaction. */
  readonly outcome: string | undefined;
  readonly reason: Failure | undefined;
  /** A code, where no error is the reason. */
  readonly because: string;
  /** When, by `performance.now()`. */
  readonly at: number;
  /** Its message is shown only where that was asked for. */
  readonly error: ErrorInfo | undefined;
  readonly attributes: Attributes;
}

/** The span of one transaction, a child of the span that is current as this is made. */
export class TransactionSpan {
  /** The context that the statements of the transaction leave in. */
  readonly context: Context;
  readonly #span: Span;
  #statements = 0;

  constructor(
    tracer: Tracer,
    connection: ConnectionInfo,
    operation: SpanOperation = 'TRANSACTION',
  ) {
    const parent = context.active();
    const { database } = connection;
    this.#span = tracer.startSpan(
      database === undefined ? operation : `${operation} ${database}`,
      { kind: SpanKind.CLIENT, attributes: attributesOf(connection, operation) },
      parent,
    );
    this.context = trace.setSpan(parent, this.#span);
  }

  /** A statement of the application has left. */
  statementSent(): void {
    this.#statements++;
  }

  /** The server has run nothing of one that had left. */
  statementUnsent(): void {
    this.#statements--;
  }

  set(name: string, value: string | number | boolean | undefined): void {
    if (value !== undefined) {
      this.#span.setAttribute(name, value);
    }
  }

  acquired(durationMs: number): void {
    this.set(WAIT_TIME, durationMs / 1_000);
  }

  /** All connections of the pool are in use. */
  waits({ pool }: PoolEvent): void {
    this.#span.addEvent(SPAN_EVENTS.poolWait, {
      'db_context.pool.size': pool.size,
      'db_context.pool.used': pool.checkedOut,
      'db_context.pool.waiting': pool.waiting,
    });
  }

  savepointSet(name: string): void {
    this.#span.addEvent(SPAN_EVENTS.savepointSet, { [SAVEPOINT]: name });
  }

  savepointEnded(name: string, outcome: string): void {
    this.#span.addEvent(SPAN_EVENTS.savepointEnd, { [SAVEPOINT]: name, [OUTCOME]: outcome });
  }

  /** Ends it; a span that is left open by the end of the instrumentation has no outcome. */
  end(how?: SpanEnd): void {
    if (how !== undefined && this.#span.isRecording()) {
      this.#span.setAttributes({
        ...how.attributes,
        ...(how.outcome !== undefined && { [OUTCOME]: how.outcome }),
        [STATEMENTS]: this.#statements,
      });
      this.#addReason(how);
    }
    this.#span.end(how?.at);
  }

  #addReason({ outcome, reason, because, at, error }: SpanEnd): void {
    if (outcome === 'committed' || outcome === 'untouched') {
      return;
    }
    const message = error && { [EXCEPTION_MESSAGE]: error.message };
    const codes = reason && {
      [ERROR_TYPE]: errorTypeOf(reason),
      ...(reason.sqlState !== undefined && { [DB_RESPONSE_STATUS_CODE]: reason.sqlState }),
    };
    const shown = { [REASON]: reason?.type ?? because, ...codes, ...message };
    if (outcome !== undefined) {
      this.#span.addEvent(SPAN_EVENTS.rollback, shown, at);
    } else if (because !== OWN_DECISION) {
      this.#span.setAttributes({ [REASON]: because });
    }
    if (codes !== undefined || outcome === 'unknown') {
      this.#span.setAttributes(codes ?? {});
      const description = error?.message ?? reason?.type;
      this.#span.setStatus({
        code: SpanStatusCode.ERROR,
        ...(description !== undefined && { message: description }),
      });
    }
  }
}
