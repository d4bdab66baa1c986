import { UNMASKED, type StatementEvent } from '../telemetry/operation-events.js';
import type { ConnectionInfo, TransactionInfo } from '../telemetry/payloads.js';
import { NO_PLACE, placeHere, type Place } from '../telemetry/place.js';
import type { StatementRequest } from '../telemetry/operation-events.js';
import type { SentStatement } from './obstacle.js';
import { WatchedForks } from './watched-forks.js';

/** A transaction of which nothing is asked for a while. */
interface IdleTransaction {
  readonly connection: ConnectionInfo;
  readonly last: SentStatement;
}

interface WatchedTransaction {
  /** The statement that was asked for last. */
  readonly last: SentStatement;
  /** By the clock of `performance.now()`; `undefined` while a statement is asked for, or found. */
  idleSince: number | undefined;
}

/** What the watch knows of an open context: what is asked of its transactions, its flushes and its forks. */
export class WatchedContext {
  readonly openedAt = performance.now();
  /** Where it was opened. */
  readonly place: Place = placeHere();
  readonly forks = new WatchedForks();
  /** What was sent past its sessions last. */
  past: SentStatement | undefined;
  /** Whether it was found to be open for too long. */
  isLong = false;
  readonly #idleMs: number;
  readonly #transactions = new Map<TransactionInfo, WatchedTransaction>();
  readonly #flushes = new Map<ConnectionInfo, number>();

  /** @param idleMs for how long nothing may be asked of a transaction, in milliseconds */
  constructor(idleMs: number) {
    this.#idleMs = idleMs;
  }

  /** The last statements of its transactions. */
  get lastStatements(): readonly SentStatement[] {
    return [...this.#transactions.values()].map(({ last }) => last);
  }

  /** @returns whether nothing was asked of the transaction for too long before */
  requested(request: StatementRequest): IdleTransaction | undefined {
    const { transaction } = request;
    if (transaction === undefined) {
      return undefined;
    }
    const known = this.#transactions.get(transaction);
    const idle = known && this.#lookAt(transaction, known);
    request.keepStack();
    this.#transactions.set(transaction, { last: sentBy(request), idleSince: undefined });
    return idle;
  }

  /** A message has left for the server. */
  sent({ transaction }: StatementEvent): void {
    this.#change(transaction, undefined);
  }

  /** The server has answered it, or it failed. */
  answered({ transaction }: StatementEvent): void {
    this.#change(transaction, performance.now());
  }

  #change(transaction: TransactionInfo | undefined, idleSince: number | undefined): void {
    const known = transaction && this.#transactions.get(transaction);
    if (known !== undefined) {
      known.idleSince = idleSince;
    }
  }

  /** @returns whether nothing was asked of it for too long before */
  ended(transaction: TransactionInfo): IdleTransaction | undefined {
    const known = this.#transactions.get(transaction);
    this.#transactions.delete(transaction);
    return known && this.#lookAt(transaction, known);
  }

  /** @returns whether another flush of the same session is running */
  flushBegins(connection: ConnectionInfo): boolean {
    const running = this.#flushes.get(connection) ?? 0;
    this.#flushes.set(connection, running + 1);
    return running > 0;
  }

  flushEnds(connection: ConnectionInfo): void {
    this.#flushes.set(connection, (this.#flushes.get(connection) ?? 1) - 1);
  }

  /** The transactions of which nothing has been asked for too long; each once per pause. */
  findIdle(): readonly IdleTransaction[] {
    return [...this.#transactions]
      .map(([transaction, known]) => this.#lookAt(transaction, known))
      .filter((each) => each !== undefined);
  }

  #lookAt({ connection }: TransactionInfo, known: WatchedTransaction): IdleTransaction | undefined {
    const { idleSince, last } = known;
    if (idleSince === undefined) {
      return undefined;
    }
    if (performance.now() - idleSince <= this.#idleMs) {
      return undefined;
    }
    known.idleSince = undefined;
    return { connection, last };
  }
}

/** MikroORM's promises lead to the code of the application a moment after the request. */
function sentBy(request: StatementRequest): SentStatement {
  return {
    sql: request[UNMASKED].text,
    get place() {
      return request.place ?? NO_PLACE;
    },
  };
}
