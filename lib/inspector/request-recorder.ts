import { errorInfoOf, type ErrorInfo } from '../telemetry/error-info.js';
import { dbContextChannels } from '../telemetry/db-context-channels.js';
import type { FindingEvent } from '../telemetry/finding-event.js';
import type { AcquireEvent } from '../telemetry/connection-events.js';
import { UNMASKED, type StatementEvent } from '../telemetry/operation-events.js';
import type {
  ContextEndEvent,
  ContextEvent,
  PoolEvent,
  SavepointEndEvent,
  SavepointEvent,
  TransactionEndEvent,
  TransactionEvent,
} from '../telemetry/payloads.js';
import { Subscriptions, type ListenerFailed } from '../telemetry/subscriptions.js';
import type { RecordLookup } from './record-lookup.js';
import { bytesOfText, shortened } from './kept-text.js';
import type { RequestLog } from './request-log.js';
import { placeText } from './place-text.js';
import type {
  FindingRecord,
  RequestRecord,
  StatementRecord,
  WaitRecord,
} from './request-record.js';
import {
  isOfServer,
  knownWithoutOthersWords,
  withoutOthersWords,
  type ShownError,
} from './shown-error.js';
import { bytesOf, textsOf } from './statement-texts.js';

/** What a record of a statement takes besides its texts, about, in bytes. */
const STATEMENT_BYTES = 250;
const FINDING_BYTES = 400;
const WAIT_BYTES = 150;
const SAVEPOINT_BYTES = 100;

/** What may have failed. */
interface FailedEvent {
  readonly error: ErrorInfo | undefined;
  readonly [UNMASKED]: { readonly error: unknown };
}

/** What is kept of each request. */
interface Settings {
  readonly maxStatements: number;
  readonly showValues: boolean;
  readonly showPlaces: boolean;
}

/** What it writes into, and who hears of its faults. */
interface Surroundings {
  readonly log: RequestLog;
  readonly lookup: RecordLookup;
  /** Contexts of other applications in this process are theirs. */
  readonly application: object;
  readonly failed: ListenerFailed;
}

/** Writes what the channels of the library say into the records of requests. */
export class RequestRecorder {
  readonly #log: RequestLog;
  readonly #lookup: RecordLookup;
  readonly #settings: Settings;
  readonly #application: object;
  readonly #statements = new WeakMap<StatementEvent, StatementRecord>();
  readonly #waits = new WeakMap<AcquireEvent, WaitRecord>();
  readonly #subscriptions: Subscriptions;

  constructor({ log, lookup, application, failed }: Surroundings, settings: Settings) {
    this.#log = log;
    this.#lookup = lookup;
    this.#settings = settings;
    this.#application = application;
    this.#subscriptions = new Subscriptions(failed);
  }

  /** Subscribes to the channels. */
  start(): void {
    const { acquire, statement, ...channels } = dbContextChannels;
    const to = this.#subscriptions;
    to.listen(channels.contextOpen, (event) => this.#contextOpened(event));
    to.listen(channels.contextEnd, (event) => this.#contextEnded(event));
    to.listen(channels.transactionBegin, (event) => this.#transactionBegun(event));
    to.listen(channels.transactionEnd, (event) => this.#transactionEnded(event));
    to.listen(channels.savepointSet, (event) => this.#savepointSet(event));
    to.listen(channels.savepointEnd, (event) => this.#savepointEnded(event));
    to.listen(channels.finding, (event) => this.#found(event));
    to.listen(channels.retry, () => this.#retried());
    to.listen(channels.poolWait, (event) => this.#queued(event));
    to.listen(acquire.start, (event) => this.#acquires(event));
    to.listen(acquire.asyncEnd, (event) => this.#acquired(event));
    if (this.#settings.showPlaces) {
      to.listen(channels.statementRequest, (request) => request.keepStack());
    }
    to.listen(statement.start, (event) => this.#sent(event));
    to.listen(statement.asyncEnd, (event) => this.#answered(event));
  }

  /** The handler of a request has thrown. */
  handlerFailed(record: RequestRecord, error: unknown): void {
    const shown = this.#settings.showValues
      ? errorInfoOf(error)
      : knownWithoutOthersWords(error, record.serverMessages);
    record.handlerError = this.#log.keptError(record, shown, record.handlerError);
  }

  /** Unsubscribes. */
  stop(): void {
    this.#subscriptions.end();
  }

  #contextOpened({ context }: ContextEvent): void {
    if (context.application === this.#application) {
      this.#lookup.opened(context);
    }
  }

  #contextEnded(event: ContextEndEvent): void {
    const { context, outcome, connections, reason } = event;
    const known = this.#lookup.of(context);
    if (known === undefined) {
      return;
    }
    const { record, own } = known;
    own.endedAt = performance.now();
    own.outcome = outcome;
    own.hasSessions = connections.length > 0;
    own.reason = this.#log.keptText(record, reason);
    own.error = this.#log.keptError(record, this.#shownOf(event, record), own.error);
    // The name of its route is known by now, if there is one.
    if (!own.isInner) {
      record.origin = this.#log.keptText(record, context.origin, record.origin);
    }
    record.open--;
    if (record.method === undefined && record.open === 0) {
      record.endedAt = own.endedAt;
    }
    this.#log.changed(record);
  }

  #transactionBegun({ transaction }: TransactionEvent): void {
    const known = this.#lookup.ofTransaction(transaction);
    if (known !== undefined) {
      known.of.isolationLevel = transaction.isolationLevel;
      known.of.isReadOnly = transaction.isReadOnly;
      known.of.processId = transaction.processId;
      this.#log.changed(known.record);
    }
  }

  #transactionEnded(event: TransactionEndEvent): void {
    const known = this.#lookup.ofTransaction(event.transaction);
    if (known !== undefined) {
      known.of.endedAt = performance.now();
      known.of.outcome = event.outcome;
      const { record, of } = known;
      of.error = this.#log.keptError(record, this.#shownOf(event, record), of.error);
      this.#log.changed(known.record);
    }
  }

  #savepointSet({ transaction, name }: SavepointEvent): void {
    const known = this.#lookup.ofTransaction(transaction);
    const last = known?.of.statements.at(-1);
    // The event follows the answer; a statement that was not kept has none to be seen under.
    if (last?.savepoint === undefined && last !== undefined && known?.of.left === 0) {
      last.savepoint = { name, endedAt: undefined, outcome: undefined };
      this.#log.grow(known.record, SAVEPOINT_BYTES + bytesOfText(name));
    }
  }

  #savepointEnded({ transaction, name, outcome }: SavepointEndEvent): void {
    const known = this.#lookup.ofTransaction(transaction);
    const savepoint = known?.of.statements.findLast(
      (each) => each.savepoint?.name === name && each.savepoint.outcome === undefined,
    )?.savepoint;
    if (savepoint !== undefined) {
      savepoint.endedAt = performance.now();
      savepoint.outcome = outcome;
    }
  }

  #retried(): void {
    const record = this.#lookup.current();
    if (record !== undefined) {
      record.handlerError = this.#log.keptError(record, undefined, record.handlerError);
      record.contexts.forEach((each) => {
        each.isRetried ||= each.outcome !== undefined;
      });
    }
  }

  #found({ kind, context, connection, message, stack }: FindingEvent): void {
    const record = this.#lookup.of(context)?.record;
    if (record !== undefined && record.findings.length < this.#settings.maxStatements) {
      const finding: FindingRecord = {
        kind,
        at: performance.now(),
        connection: connection?.name,
        message: shortened(message),
        place: placeText(stack),
      };
      record.findings.push(finding);
      const texts = bytesOfText(finding.message) + bytesOfText(finding.place);
      this.#log.grow(record, FINDING_BYTES + texts);
      this.#log.changed(record);
    }
  }

  #queued({ pool, ...origin }: PoolEvent): void {
    const wait = this.#lookup.transaction(origin)?.of.waits.at(-1);
    if (wait !== undefined) {
      wait.queue = { size: pool.size, waiting: pool.waiting };
    }
  }

  #acquires(event: AcquireEvent): void {
    const known = this.#lookup.transaction(event);
    if (known !== undefined && known.of.waits.length < this.#settings.maxStatements) {
      const wait: WaitRecord = {
        startedAt: event.startedAt,
        durationMs: undefined,
        error: undefined,
        queue: undefined,
      };
      this.#waits.set(event, wait);
      known.of.waits.push(wait);
      this.#log.grow(known.record, WAIT_BYTES);
      this.#log.changed(known.record);
    }
  }

  #acquired(event: AcquireEvent): void {
    const wait = this.#waits.get(event);
    const record = this.#lookup.transaction(event)?.record;
    if (wait !== undefined && record !== undefined) {
      wait.durationMs = event.durationMs;
      wait.error = this.#log.keptError(record, this.#shown(event.error), wait.error);
    }
  }

  #sent(event: StatementEvent): void {
    const known = this.#lookup.transaction(event);
    if (known === undefined) {
      return;
    }
    const { record, of } = known;
    if (event.kind === 'statement' && ++record.statements > this.#settings.maxStatements) {
      of.left++;
      return;
    }
    const texts = textsOf(event, this.#settings.showValues);
    const statement: StatementRecord = {
      ...texts,
      kind: event.kind,
      startedAt: event.startedAt,
      durationMs: undefined,
      rows: undefined,
      error: undefined,
      hasRun: true,
      // Made to a text at once: what the frames of a stack refer to would be kept alive with it.
      place: placeText(event.stack),
      savepoint: undefined,
    };
    of.processId ??= event.transaction?.processId;
    this.#statements.set(event, statement);
    of.statements.push(statement);
    this.#log.grow(record, STATEMENT_BYTES + bytesOf(texts) + bytesOfText(statement.place));
    this.#log.changed(record);
  }

  #answered(event: StatementEvent): void {
    const record = this.#lookup.transaction(event)?.record;
    if (record === undefined) {
      return;
    }
    if (event.error !== undefined && isOfServer(event[UNMASKED].error)) {
      // The application has not had the error yet.
      this.#log.grow(record, record.serverMessages.add(event.error));
    }
    const statement = this.#statements.get(event);
    if (statement !== undefined) {
      statement.durationMs = event.durationMs;
      statement.rows = event.rows;
      statement.error = this.#log.keptError(record, this.#shownOf(event, record), statement.error);
      statement.hasRun = event.hasRun;
      this.#log.changed(record);
    }
  }

  /** What is kept of the error of an event that knows the error itself. */
  #shownOf(event: FailedEvent, { serverMessages }: RequestRecord): ShownError | undefined {
    const { error } = event;
    return error === undefined || this.#settings.showValues
      ? error
      : knownWithoutOthersWords(event[UNMASKED].error, serverMessages, error);
  }

  #shown(error: ErrorInfo | undefined): ErrorInfo | undefined {
    return this.#settings.showValues ? error : withoutOthersWords(error);
  }
}
