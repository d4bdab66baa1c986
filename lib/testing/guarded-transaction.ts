import type { DbConnection } from '../connection/db-connection.js';
import type { PgClient, PgResult } from '../postgresql/pg-client.js';
import { SqlReader } from '../postgresql/sql-reader.js';
import { isQuietWithin } from '../connection/quiet-client.js';
import { sendInCompany, type Asked, type QueryAnswer } from './asked.js';
import { DEFERRABLE_CONSTRAINTS, DeferrableConstraints } from './deferrable-constraints.js';
import { NO_LIMIT_ON_IDLING } from './no-limit-on-idling.js';

/** Each savepoint of this name hides the one before. */
const GUARD = 'db_context_guard';
const SET_GUARD = `savepoint ${GUARD}`;
/** Removes the savepoints above the guard as well. */
const RENEW_GUARD = [`release savepoint ${GUARD}`, SET_GUARD];

/**
 * The one real transaction that a test shares, as a client sends it. On top of what was done so far
 * stands a savepoint, the guard: PostgreSQL refuses a text that it cannot parse before it has run any
 * statement of it, a savepoint at its beginning included, and the whole transaction is then aborted. So
 * the guard is set in advance, in the message before, and costs no round trip.
 *
 * Inside of a transaction of the application there is no guard, since a failure has to abort it.
 */
export class GuardedTransaction {
  readonly client: PgClient;
  readonly constraints: DeferrableConstraints;
  readonly #statusLimitMs: number;
  #savepoints = 0;

  private constructor(
    client: PgClient,
    constraints: DeferrableConstraints,
    { endTimeoutMs }: { readonly endTimeoutMs: number },
  ) {
    this.client = client;
    this.constraints = constraints;
    this.#statusLimitMs = endTimeoutMs;
  }

  /** Begins on a client, in one message. */
  static async begin(client: PgClient, connection: DbConnection): Promise<GuardedTransaction> {
    const constraints = new DeferrableConstraints(connection);
    const texts = ['begin', NO_LIMIT_ON_IDLING, SET_GUARD];
    if (constraints.checks === undefined) {
      texts.push(DEFERRABLE_CONSTRAINTS);
    }
    const answers = await sendAll(client, texts);
    if (constraints.checks === undefined) {
      constraints.answered(answers.at(-1));
    }
    return new GuardedTransaction(client, constraints, connection.limits);
  }

  get status(): 'I' | 'T' | 'E' | null {
    return this.client.getTransactionStatus();
  }

  /**
   * Whether a failure has aborted it.
   *
   * @returns `true` also where the server does not say so in time
   */
  async isAborted(): Promise<boolean> {
    // The status that follows an error may come in a packet of its own.
    return !(await isQuietWithin(this.client, this.#statusLimitMs)) || this.status === 'E';
  }

  /** Sends statements of the kit as one message. */
  send(texts: readonly string[]): Promise<PgResult[]> {
    return sendAll(this.client, texts);
  }

  /** The statements that do for constraints what COMMIT does. */
  async constraintChecks(): Promise<readonly string[]> {
    if (this.constraints.checks === undefined) {
      const [answer] = await this.send([DEFERRABLE_CONSTRAINTS]);
      this.constraints.answered(answer);
    }
    return this.constraints.checks ?? [];
  }

  /** A name for a savepoint that no other one has. */
  nextSavepoint(): string {
    return `db_context_test_${++this.#savepoints}`;
  }

  /** What a message ends with that has changed anything outside of a transaction of the application. */
  readonly renewal: readonly string[] = RENEW_GUARD;

  /** Sets a savepoint, with a guard of its own on top of it. */
  async mark(): Promise<string> {
    const savepoint = this.nextSavepoint();
    await this.send([`savepoint ${savepoint}`, SET_GUARD]);
    return savepoint;
  }

  /**
   * Sends a statement that is in no transaction of the application. If it fails it is undone alone.
   *
   * @param isOnTop whether no transaction of the application is open, so that the guard is the last savepoint
   */
  async sendGuarded(
    asked: Asked,
    { isOnTop }: { readonly isOnTop: boolean },
  ): Promise<QueryAnswer> {
    const setsSavepoint = mayLeaveSavepoint(asked.sql);
    if (!isOnTop) {
      if (setsSavepoint) {
        // A guard beneath it could not be removed again without it.
        return asked.send();
      }
      await this.send([SET_GUARD]);
    }
    const after = isOnTop
      ? setsSavepoint
        ? [SET_GUARD]
        : RENEW_GUARD
      : [`release savepoint ${GUARD}`];
    try {
      if (asked.takesCompany) {
        return (await sendInCompany(asked, { after })).answer;
      }
      const answer = await asked.send();
      await this.send(after);
      return answer;
    } catch (error) {
      await (isOnTop ? this.undoToGuard() : this.undoTo(GUARD));
      throw error;
    }
  }

  /** Undoes what came after the guard, and leaves the guard where it is. */
  async undoToGuard(): Promise<void> {
    await this.#undo([`rollback to savepoint ${GUARD}`]);
  }

  /** Undoes what came after a savepoint, and removes it. */
  async undoTo(savepoint: string): Promise<void> {
    await this.#undo([`rollback to savepoint ${savepoint}`, `release savepoint ${savepoint}`]);
  }

  async #undo(texts: readonly string[]): Promise<void> {
    // A cancel request that was meant for the statement before may arrive late and hit this one.
    for (let attempt = 1; ; attempt++) {
      try {
        await this.send(texts);
        return;
      } catch (error) {
        if (attempt === 3 || (error as { code?: unknown }).code !== '57014') {
          throw error;
        }
      }
    }
  }
}

async function sendAll(client: PgClient, texts: readonly string[]): Promise<PgResult[]> {
  return [await client.query(texts.join('; '))].flat();
}

/** Whether a text may leave a savepoint on top that it has set, or gone back to. */
function mayLeaveSavepoint(sql: string): boolean {
  if (!/savepoint|rollback/i.test(sql)) {
    return false;
  }
  const reader = new SqlReader(sql);
  let isFirst = true;
  let left = 0;
  while (reader.nextMeaningful()) {
    const word = isFirst && reader.kind === 'word' ? reader.word : '';
    if (word === 'savepoint' || word === 'rollback') {
      left++;
    } else if (word === 'release') {
      left = Math.max(0, left - 1);
    }
    isFirst = reader.kind === 'sign' && reader.first === ';';
  }
  return left > 0;
}
