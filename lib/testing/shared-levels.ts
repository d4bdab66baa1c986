import type { Holder } from '../connection/claim.js';
import type { PgResult } from '../postgresql/pg-client.js';
import { sendInCompany, type Asked, type QueryAnswer } from './asked.js';
import type { GuardedTransaction } from './guarded-transaction.js';
import { LocalSettings } from './local-settings.js';
import type { FirstText, SharedParty } from './shared-connection.js';
import { isWrite, WRITTEN_ROWS, writtenRowsOf } from './written-rows.js';

/** A transaction of the application: a savepoint of the shared one. */
interface Level {
  readonly client: SharedParty;
  readonly savepoint: string;
  readonly settings: LocalSettings;
  /** How many rows the whole shared transaction had written before; known for inner transactions only. */
  readonly writtenBefore: bigint | undefined;
  /** Whether an inner transaction has committed rows, which would be saved even if this one fails. */
  holdsCommitted: boolean;
}

/**
 * The transactions of the application that are open in a shared one, each inside of the one before. Its
 * caller has the turn.
 */
export class SharedLevels {
  readonly #real: GuardedTransaction;
  readonly #all: Level[] = [];

  constructor(real: GuardedTransaction) {
    this.#real = real;
  }

  get count(): number {
    return this.#all.length;
  }

  get clients(): readonly SharedParty[] {
    return this.#all.map(({ client }) => client);
  }

  /** The client of the innermost one. */
  get topClient(): SharedParty | undefined {
    return this.#all.at(-1)?.client;
  }

  has(client: SharedParty): boolean {
    return this.#of(client) !== undefined;
  }

  /** Whether one may begin now for this holder: inside of its own, or where none is open. */
  mayOpen(holder: Holder | undefined): boolean {
    const top = this.#all.at(-1);
    if (top === undefined || holder === undefined) {
      return true;
    }
    for (let each: Holder | undefined = holder; each !== undefined; each = each.outer) {
      if (each === top.client.holder) {
        return true;
      }
    }
    return false;
  }

  /** Begins one by itself. */
  async open(client: SharedParty, isReadOnly: boolean): Promise<void> {
    const savepoint = this.#real.nextSavepoint();
    const isInner = this.#all.length > 0;
    const answers = await this.#real.send([
      ...(isInner ? [WRITTEN_ROWS] : []),
      ...opening(savepoint, isReadOnly),
    ]);
    this.#all.push(this.#level(client, savepoint, isInner ? writtenRowsOf(answers[0]) : undefined));
  }

  /**
   * Begins one with its first statements, in one message as in production. Where the server cannot parse
   * the message nothing of it has run, and none has begun.
   */
  async openWith(client: SharedParty, { asked, isReadOnly }: FirstText): Promise<QueryAnswer> {
    if (this.#all.length > 0) {
      // What the outer one has done would be lost with a text that cannot be parsed: no guard is on top.
      await this.open(client, isReadOnly);
      return this.send(client, asked);
    }
    const level = this.#level(client, this.#real.nextSavepoint(), undefined);
    const question = level.settings.questionFor(asked.sql, asked.values);
    const before = [...opening(level.savepoint, isReadOnly), ...question.statements];
    const message = await this.#begins(level, () => sendInCompany(asked, { before }));
    level.settings.answered(question, message.before.at(-1));
    this.#real.constraints.ran(message.answer);
    return message.answer;
  }

  /** Sends a read in one of its own, from its beginning to its end. If it fails, that stays open. */
  async readWhole(client: SharedParty, { asked, isReadOnly }: FirstText): Promise<QueryAnswer> {
    if (this.#all.length > 0) {
      await this.open(client, isReadOnly);
      const { savepoint } = this.#all.at(-1)!;
      const after = [`rollback to savepoint ${savepoint}`, `release savepoint ${savepoint}`];
      const { answer } = await sendInCompany(asked, { after });
      this.#all.pop();
      return answer;
    }
    const level = this.#level(client, this.#real.nextSavepoint(), undefined);
    const company = {
      before: opening(level.savepoint, isReadOnly),
      // It has written nothing, and a rollback gives the settings their values back.
      after: [`rollback to savepoint ${level.savepoint}`, `release savepoint ${level.savepoint}`],
    };
    const { answer } = await this.#begins(level, () => sendInCompany(asked, company));
    this.#all.pop();
    return answer;
  }

  /** Sends a statement in the innermost one. */
  async send(client: SharedParty, asked: Asked): Promise<QueryAnswer> {
    const { settings } = this.#of(client)!;
    const question = settings.questionFor(asked.sql, asked.values);
    let answer: QueryAnswer;
    if (asked.takesCompany) {
      const message = await sendInCompany(asked, { before: question.statements });
      settings.answered(question, message.before[0]);
      ({ answer } = message);
    } else {
      await this.#ask(settings, asked.sql, asked.values);
      answer = await asked.send();
    }
    this.#real.constraints.ran(answer);
    return answer;
  }

  /** Code that has the real client sends a statement on it. */
  lentSends(client: SharedParty, sql: string, values: readonly unknown[]): void {
    this.#real.constraints.mayRun(sql);
    // Its own failures do not matter: the statement that follows it fails in the same way.
    this.#ask(this.#of(client)!.settings, sql, values).catch(() => undefined);
  }

  async #ask(settings: LocalSettings, sql: string, values: readonly unknown[]): Promise<void> {
    const question = settings.questionFor(sql, values);
    if (question.statements.length > 0) {
      const [answer] = await this.#real.send(question.statements);
      settings.answered(question, answer);
    }
  }

  /** A statement in none of them was answered; a rollback of the innermost one would undo it. */
  ranBeside(answer: QueryAnswer): void {
    const top = this.#all.at(-1);
    if (top !== undefined && isWrite(answer)) {
      top.holdsCommitted = true;
    }
  }

  /**
   * Ends the innermost one, and keeps what it did: constraints are checked, and settings that are local to
   * it get their earlier values back, in one message.
   *
   * @param questions statements whose answers are wanted before
   * @returns those answers; `undefined` if it had failed, and so is rolled back, as PostgreSQL does it
   */
  async commit(questions: readonly string[]): Promise<PgResult[] | undefined> {
    const level = this.#all.at(-1)!;
    if (await this.#real.isAborted()) {
      if (questions.length > 0) {
        // It is refused, as it would be in production.
        await this.#real.send(questions);
      }
      await this.#undo(level);
      return undefined;
    }
    const checks = await this.#real.constraintChecks();
    const counts = level.writtenBefore === undefined ? [] : [WRITTEN_ROWS];
    const end =
      this.#all.length === 1 ? this.#real.renewal : [`release savepoint ${level.savepoint}`];
    const answers = await this.#real.send([
      ...questions,
      ...checks,
      ...counts,
      ...level.settings.restoration,
      ...end,
    ]);
    this.#leave(level);
    const outer = this.#all.at(-1);
    if (outer !== undefined && level.writtenBefore !== undefined) {
      const written = writtenRowsOf(answers[questions.length + checks.length]);
      outer.holdsCommitted ||= level.holdsCommitted || written > level.writtenBefore;
    }
    return answers.slice(0, questions.length);
  }

  /**
   * Rolls the transaction of a client back, with all inside of it.
   *
   * @returns whether that has undone what would be saved in production
   */
  async rollBack(client: SharedParty): Promise<boolean> {
    const level = this.#of(client);
    if (level === undefined) {
      return false;
    }
    await this.#undo(level);
    return level.holdsCommitted;
  }

  /** Forgets the transaction of a client, or all of them, without a statement. */
  forget(client?: SharedParty): void {
    const level = client === undefined ? this.#all[0] : this.#of(client);
    if (level !== undefined) {
      this.#leave(level);
    }
  }

  async #undo(level: Level): Promise<void> {
    await (level === this.#all[0] ? this.#real.undoToGuard() : this.#real.undoTo(level.savepoint));
    this.#leave(level);
  }

  async #begins<T>(level: Level, send: () => Promise<T>): Promise<T> {
    const { connection } = this.#real.client;
    let hasBegun = false;
    const noteBegun = (): void => {
      hasBegun = true;
    };
    connection.on('commandComplete', noteBegun);
    try {
      const answer = await send();
      this.#all.push(level);
      return answer;
    } catch (error) {
      if (hasBegun) {
        this.#all.push(level);
      } else {
        // A connection that is lost makes all that follows fail as well, which reports it.
        await this.#real.undoToGuard().catch(() => undefined);
      }
      throw error;
    } finally {
      connection.off('commandComplete', noteBegun);
    }
  }

  #level(client: SharedParty, savepoint: string, writtenBefore: bigint | undefined): Level {
    const settings = new LocalSettings(this.#real.client);
    return { client, savepoint, settings, writtenBefore, holdsCommitted: false };
  }

  #of(client: SharedParty): Level | undefined {
    return this.#all.find((level) => level.client === client);
  }

  #leave(level: Level): void {
    this.#all.splice(this.#all.indexOf(level));
  }
}

function opening(savepoint: string, isReadOnly: boolean): readonly string[] {
  return [`savepoint ${savepoint}`, ...(isReadOnly ? ['set transaction read only'] : [])];
}
