import { AsyncLocalStorage } from 'node:async_hooks';

import type { EventOrigin } from '../telemetry/operation-events.js';
import type { ContextInfo, TransactionInfo } from '../telemetry/payloads.js';
import { shortened } from './kept-text.js';
import type { RequestLog } from './request-log.js';
import type { ContextRecord, RequestRecord, TransactionRecord } from './request-record.js';
import { ServerMessages } from './server-messages.js';

/** What is not recorded: requests of the page itself. */
const UNSEEN = Symbol('nestjs-db-context:inspector-unseen');

/** An HTTP request that has begun. */
interface RequestStart {
  readonly method: string | undefined;
  readonly path: string | undefined;
}

/** A context, and the record that it is part of. */
interface KnownContext {
  readonly record: RequestRecord;
  readonly own: ContextRecord;
}

/** A transaction, and the record that it is part of. */
interface KnownTransaction {
  readonly record: RequestRecord;
  readonly of: TransactionRecord;
}

/** What a context, and a transaction, takes besides its texts, about, in bytes. */
const CONTEXT_BYTES = 150;
const TRANSACTION_BYTES = 300;
/** How many contexts, and how many transactions, are kept of one request: it may have endless ones. */
const MOST_PARTS = 200;

/**
 * Finds the record that an event belongs to: that of the request whose code is running, or that of the
 * context around. Contexts outside of requests have one of their own, from their first transaction on.
 */
export class RecordLookup {
  readonly #log: RequestLog;
  readonly #current = new AsyncLocalStorage<RequestRecord | typeof UNSEEN>();
  readonly #contexts = new WeakMap<ContextInfo, KnownContext>();
  readonly #transactions = new WeakMap<TransactionInfo, TransactionRecord>();
  readonly #none = new WeakMap<RequestRecord, Map<string, TransactionRecord>>();

  constructor(log: RequestLog) {
    this.#log = log;
  }

  /** All that runs from here on, in this turn and in what follows from it, is of this request. */
  enter(start: RequestStart): RequestRecord {
    const record = newRecord(this.#log.nextId(), start);
    this.#current.enterWith(record);
    return record;
  }

  /** What runs from here on is not recorded. */
  enterUnseen(): void {
    this.#current.enterWith(UNSEEN);
  }

  /** The record of the request that the current code is part of. */
  current(): RequestRecord | undefined {
    const current = this.#current.getStore();
    // What a request has started may outlive it: a worker, a timer.
    return current === UNSEEN || current === undefined || isOver(current) ? undefined : current;
  }

  /** A context was opened. */
  opened(context: ContextInfo): void {
    if (this.#current.getStore() === UNSEEN) {
      return;
    }
    const outer = context.outer && this.#contexts.get(context.outer);
    const current = outer?.record ?? this.current();
    const record = current ?? newRecord(this.#log.nextId(), NO_REQUEST);
    const own: ContextRecord = {
      isInner: outer !== undefined,
      endedAt: undefined,
      outcome: undefined,
      hasSessions: false,
      reason: undefined,
      error: undefined,
      isRetried: false,
    };
    this.#contexts.set(context, { record, own });
    record.open++;
    if (record.contexts.length < MOST_PARTS) {
      record.contexts.push(own);
      this.#log.grow(record, CONTEXT_BYTES);
    }
    record.origin ??= this.#log.keptText(record, context.origin);
    if (record.method !== undefined && record.contexts.length === 1) {
      this.#log.add(record);
    }
  }

  /** @returns what is known of a context */
  of(context: ContextInfo | undefined): KnownContext | undefined {
    return context && this.#contexts.get(context);
  }

  /** The record of a transaction; made where there is none yet. */
  ofTransaction(transaction: TransactionInfo): KnownTransaction | undefined {
    const { connection, context } = transaction;
    return this.transaction({ connection, context, transaction });
  }

  /** As {@link RecordLookup.ofTransaction}, also for statements in none. */
  transaction({
    connection,
    context,
    transaction,
  }: Omit<EventOrigin, 'use'>): KnownTransaction | undefined {
    const record = this.of(transaction?.context ?? context)?.record;
    if (record === undefined) {
      return undefined;
    }
    const known =
      transaction === undefined
        ? this.#none.get(record)?.get(connection.name)
        : this.#transactions.get(transaction);
    if (known !== undefined) {
      return { record, of: known };
    }
    const made = newTransaction({ connection, transaction });
    if (transaction === undefined) {
      const none = this.#none.get(record) ?? new Map<string, TransactionRecord>();
      this.#none.set(record, none.set(connection.name, made));
    } else {
      this.#transactions.set(transaction, made);
    }
    if (record.transactions.length < MOST_PARTS) {
      record.transactions.push(made);
      this.#log.grow(record, TRANSACTION_BYTES);
    }
    if (record.method === undefined && record.transactions.length === 1) {
      this.#log.add(record);
    }
    return { record, of: made };
  }
}

const NO_REQUEST: RequestStart = { method: undefined, path: undefined };

function isOver({ endedAt, open }: RequestRecord): boolean {
  return endedAt !== undefined && open === 0;
}

function newRecord(id: number, { method, path }: RequestStart): RequestRecord {
  return {
    id,
    startedAt: performance.now(),
    method,
    path: path === undefined ? undefined : shortened(path),
    route: undefined,
    origin: undefined,
    endedAt: undefined,
    status: undefined,
    isAbandoned: false,
    handlerError: undefined,
    contexts: [],
    transactions: [],
    findings: [],
    serverMessages: new ServerMessages(),
    statements: 0,
    open: 0,
    bytes: 0,
    isDropped: false,
  };
}

function newTransaction({
  connection,
  transaction,
}: Pick<EventOrigin, 'connection' | 'transaction'>): TransactionRecord {
  const { name, database, host } = connection;
  return {
    connection: name,
    database,
    host,
    isNone: transaction === undefined,
    startedAt: transaction?.startedAt ?? performance.now(),
    endedAt: undefined,
    outcome: undefined,
    error: undefined,
    isolationLevel: undefined,
    isReadOnly: undefined,
    processId: undefined,
    waits: [],
    statements: [],
    left: 0,
  };
}
