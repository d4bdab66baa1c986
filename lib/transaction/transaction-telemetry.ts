import type { Holder, Placed } from '../connection/claim.js';
import { UnexpectedRollbackError, type DbContextError, type EndCause } from '../errors.js';
import type { TransactionSettings } from '../postgresql/transaction-settings.js';
import { transactionBegin, transactionEnd, transactionStart } from '../telemetry/channels.js';
import { endedByOf } from '../telemetry/ended-by.js';
import { errorInfoOf, type ErrorInfo } from '../telemetry/error-info.js';
import type { EventOrigin } from '../telemetry/operation-events.js';
import type { ConnectionInfo, ContextInfo, TransactionInfo } from '../telemetry/payloads.js';
import { withUnmasked } from '../telemetry/unmasked.js';
import {
  commitBlockerOf,
  hasBegun,
  leaseOf,
  type Failure,
  type TransactionState,
} from './transaction-state.js';

/** Whether anybody listens to what becomes of transactions (O1). */
export function isTransactionObserved(): boolean {
  return (
    transactionStart.hasSubscribers ||
    transactionEnd.hasSubscribers ||
    transactionBegin.hasSubscribers
  );
}

/** What a transaction is seen by. */
interface Observed extends Placed {
  readonly state: TransactionState;
}

/** A transaction as events show it. What has become of it follows from its states. */
export class TransactionTelemetry implements EventOrigin, TransactionInfo {
  readonly connection: ConnectionInfo;
  readonly context: ContextInfo | undefined;
  readonly #holder: Holder | undefined;
  readonly #machine: Observed;
  #startedAt: number | undefined;
  #settings: TransactionSettings | undefined;
  #processId: number | undefined;
  #hasBegun = false;
  #failure: Failure | undefined;
  /** A statement that had failed before its gate shut, and that nothing has undone. */
  #failedBefore: DbContextError | undefined;
  /** What had ended its unit of work as its gate shut. */
  #endCause: EndCause | undefined;

  constructor(connection: ConnectionInfo, holder: Holder | undefined, machine: Observed) {
    this.connection = connection;
    this.context = holder?.telemetry;
    this.#holder = holder;
    this.#machine = machine;
  }

  /** See {@link EventOrigin.transaction}. */
  get transaction(): this {
    return this;
  }

  /** See {@link EventOrigin.use}. */
  get use(): undefined {
    return undefined;
  }

  /** See {@link TransactionInfo.startedAt}. */
  get startedAt(): number | undefined {
    return this.#startedAt;
  }

  /** See {@link TransactionInfo.isolationLevel}. */
  get isolationLevel(): string | undefined {
    return this.#settings?.isolationLevel;
  }

  /** See {@link TransactionInfo.isReadOnly}. */
  get isReadOnly(): boolean | undefined {
    return this.#settings && this.#settings.readOnly === true;
  }

  /** See {@link TransactionInfo.processId}. */
  get processId(): number | undefined {
    return this.#processId ?? processIdIn(this.#machine.state);
  }

  /** The state has changed. */
  moved(before: TransactionState, now: TransactionState): void {
    if (now.tag === 'reading') {
      return;
    }
    this.#settings = ('plan' in now ? now.plan?.settings : undefined) ?? this.#settings;
    this.#processId = processIdIn(now) ?? this.#processId;
    // An end without a beginning counts as a rollback, too.
    this.#hasBegun ||= now.tag !== 'ending' && now.tag !== 'ended' && hasBegun(now);
    if (now.tag === 'beginning' && before.tag === 'idle') {
      this.#startedAt = performance.now();
      transactionStart.publish({ transaction: this });
    } else if (now.tag === 'open' && before.tag === 'beginning') {
      transactionBegin.publish({ transaction: this });
    } else if (now.tag === 'broken') {
      this.#failure ??= now.cause;
    } else if (now.tag === 'shut') {
      this.#failedBefore =
        before.tag === 'open' ? commitBlockerOf(before, this.#machine) : undefined;
      this.#endCause = this.#holder?.endCause;
    } else if (now.tag === 'ended' && this.#hasBegun && transactionEnd.hasSubscribers) {
      this.#ended(now);
    }
  }

  /** Its COMMIT has failed. */
  commitFailed(error: unknown): void {
    this.#failure = { error };
  }

  #ended({ outcome, blocker, killedBy }: TransactionState & { readonly tag: 'ended' }): void {
    const isCommitted = outcome === 'committed';
    // What is under way fails for the end of the unit of work, and is no reason of its own.
    const failedBefore = this.#failure === undefined ? this.#failedBefore : undefined;
    const hasFailed = failedBefore !== undefined || this.#failure !== undefined;
    const cause = outcome === 'rolled-back' && !hasFailed ? this.#endCause : undefined;
    const reason =
      cause === undefined
        ? (failedBefore ?? killedBy ?? this.#failure?.error ?? blocker)
        : cause.error;
    const error = isCommitted ? undefined : reason;
    const event = {
      transaction: this,
      outcome,
      durationMs: this.#startedAt === undefined ? undefined : performance.now() - this.#startedAt,
      endedBy: cause && endedByOf(cause),
      error: error === undefined ? undefined : infoOf(error),
    };
    transactionEnd.publish(withUnmasked(event, { error }));
  }
}

/** Whether its error was swallowed is not known here, and is said by the commit that was refused for it. */
function infoOf(error: unknown): ErrorInfo {
  const info = errorInfoOf(error);
  return error instanceof UnexpectedRollbackError && error.reason === 'failed-statement'
    ? { ...info, message: `a statement had failed: ${errorInfoOf(error.cause).message}` }
    : info;
}

function processIdIn(state: TransactionState): number | undefined {
  return leaseOf(state)?.client.processID ?? undefined;
}
