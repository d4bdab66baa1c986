import { EventEmitter } from 'node:events';
import { callbackify } from 'node:util';

import type { Holder } from '../connection/claim.js';
import { COMMIT_WITH_QUESTION, HAS_WRITTEN } from '../postgresql/commit-message.js';
import type { OnSend, PgClient, PgResult } from '../postgresql/pg-client.js';

const BEGIN = /^\s*(?:begin|start\s+transaction)\b(?<modes>[^;]*);?\s*(?<rest>[\s\S]*)$/i;
/** The end of a text with one read as its whole transaction; the read itself holds no semicolon. */
const COMMIT_OF_READ = /;commit$/;
const COMMIT = /^\s*(?:commit|end)(?:\s+(?:work|transaction))?\s*;?\s*$/i;
const ROLLBACK = /^\s*(?:rollback|abort)(?:\s+(?:work|transaction))?\s*;?\s*$/i;

type Callback = (error: Error | null, result: PgResult | PgResult[]) => void;

/** The real transaction on one real client whose savepoints are the transactions of shared clients. */
export interface SharedConnection {
  /** The client that sends the statements of all shared clients. */
  readonly realClient: PgClient;
  /** The error listeners of all shared clients. */
  readonly errorListeners: Set<(error: Error) => void>;

  /** Begins the savepoint of a client. */
  open(client: SharedClient, isReadOnly: boolean): Promise<void>;

  /** Sends a statement inside the savepoint of a client. */
  send(
    client: SharedClient,
    sql: string,
    values: readonly unknown[],
    query: () => Promise<PgResult | PgResult[]>,
  ): Promise<PgResult | PgResult[]>;

  /** Gives the real client to the user of a client whose savepoint is open. */
  lend<T>(
    client: SharedClient,
    use: (realClient: PgClient, onSend: OnSend) => Promise<T>,
  ): Promise<T>;

  /** Sends a statement of a client that has no savepoint open. */
  sendAlone(query: () => Promise<PgResult | PgResult[]>): Promise<PgResult | PgResult[]>;

  /** @returns whether it is committed; if not, it was rolled back, as PostgreSQL does it */
  commit(client: SharedClient): Promise<boolean>;

  rollBack(client: SharedClient): Promise<void>;

  /** Rolls the savepoint of a destroyed client back at once, with all savepoints inside of it. */
  abandon(client: SharedClient): Promise<void>;

  /** An error that says what a shared transaction cannot show. */
  refusal(reason: string): Error;
}

/**
 * The client that a pool hands out while a test shares its transaction. To its user it looks like a
 * client of its own, whose BEGIN, COMMIT and ROLLBACK are those of a savepoint.
 */
export class SharedClient implements PgClient {
  readonly holder: Holder | undefined;
  readonly connection = Object.assign(new EventEmitter(), {
    stream: { destroy: (): void => undefined },
  });
  readonly #shared: SharedConnection;
  #isOpen = false;
  #isReleased = false;
  #isRunning = false;

  constructor(shared: SharedConnection, holder: Holder | undefined) {
    this.#shared = shared;
    this.holder = holder;
  }

  get host(): string {
    return this.#shared.realClient.host;
  }

  get port(): number {
    return this.#shared.realClient.port;
  }

  /** It has one only while its own statement runs: a cancel request must not hit another client's. */
  get processID(): number | null {
    return this.#isRunning ? this.#shared.realClient.processID : null;
  }

  get secretKey(): PgClient['secretKey'] {
    return this.#shared.realClient.secretKey;
  }

  get ssl(): unknown {
    return this.#shared.realClient.ssl;
  }

  get sslNegotiation(): string {
    return this.#shared.realClient.sslNegotiation ?? 'postgres';
  }

  get makeStream(): PgClient['makeStream'] {
    return this.#shared.realClient.makeStream;
  }

  escapeLiteral(value: string): string {
    return this.#shared.realClient.escapeLiteral(value);
  }

  getTransactionStatus(): 'I' | 'T' | 'E' | null {
    return this.#isOpen ? this.#shared.realClient.getTransactionStatus() : 'I';
  }

  on(_event: 'error', listener: (error: Error) => void): this {
    this.#shared.errorListeners.add(listener);
    return this;
  }

  off(_event: 'error', listener: (error: Error) => void): this {
    this.#shared.errorListeners.delete(listener);
    return this;
  }

  /** `pool.query()` of `pg` calls this one and `removeListener()`. */
  once(event: 'error', listener: (error: Error) => void): this {
    return this.on(event, listener);
  }

  removeListener(event: 'error', listener: (error: Error) => void): this {
    return this.off(event, listener);
  }

  /** Takes all forms that `pg` takes: a text or a config object, with or without a callback. */
  query(...args: readonly unknown[]): Promise<PgResult | PgResult[]> {
    const callback = args.at(-1);
    if (typeof callback === 'function') {
      callbackify(() => this.#query(args.slice(0, -1)))(callback as Callback);
      return undefined as never;
    }
    return this.#query(args);
  }

  /** See {@link PgClient.lend}. */
  async lend<T>(use: (client: PgClient, onSend: OnSend) => Promise<T>): Promise<T> {
    return this.#shared.lend(this, (realClient, onSend) =>
      this.#whileRunning(() => use(realClient, onSend)),
    );
  }

  release(_destroy?: boolean | Error): void {
    if (this.#isReleased) {
      throw new Error('Release called on client which has already been released to the pool.');
    }
    this.#isReleased = true;
    if (this.#isOpen) {
      this.#isOpen = false;
      // The cause of a failure here makes all later statements fail as well, and they report it.
      this.#shared.abandon(this).catch(() => undefined);
    }
  }

  async #query(args: readonly unknown[]): Promise<PgResult | PgResult[]> {
    const [first] = args;
    if (typeof (first as { readonly submit?: unknown } | null)?.submit === 'function') {
      throw this.#shared.refusal(
        'a cursor of pg keeps its connection to itself. Stream through the session, whose cursors ' +
          'are statements, or use the cursor in dbContext.withClient().',
      );
    }
    const config = (first ?? {}) as { readonly text?: unknown; readonly values?: unknown };
    const sql = String(typeof first === 'string' ? first : config.text);
    const values = (args[1] ?? config.values ?? []) as readonly unknown[];
    const begin = BEGIN.exec(sql);
    if (begin !== null) {
      await this.#shared.open(this, /\bread\s+only\b/i.test(begin.groups!['modes']!));
      this.#isOpen = true;
      this.connection.emit('commandComplete');
      const rest = begin.groups!['rest']!;
      const answer = answerTo('BEGIN');
      if (COMMIT_OF_READ.test(rest)) {
        const read = await this.#sendRest(sql, rest.replace(COMMIT_OF_READ, ''));
        return [answer, read, await this.#commit()].flat();
      }
      return rest === '' ? answer : [answer, await this.#sendRest(sql, rest)].flat();
    }
    if (sql === COMMIT_WITH_QUESTION) {
      return [await this.#send(HAS_WRITTEN, [], [HAS_WRITTEN]), await this.#commit()].flat();
    }
    if (COMMIT.test(sql)) {
      return this.#commit();
    }
    if (ROLLBACK.test(sql)) {
      if (this.#isOpen) {
        await this.#shared.rollBack(this);
        this.#isOpen = false;
      }
      return answerTo('ROLLBACK');
    }
    return this.#send(sql, values, args);
  }

  async #commit(): Promise<PgResult> {
    const isCommitted = !this.#isOpen || (await this.#shared.commit(this));
    this.#isOpen = false;
    return answerTo(isCommitted ? 'COMMIT' : 'ROLLBACK');
  }

  /** Sends what follows BEGIN in one text; the position in its errors is that in the whole text. */
  async #sendRest(sql: string, rest: string): Promise<PgResult | PgResult[]> {
    try {
      return await this.#send(rest, [], [rest]);
    } catch (error) {
      const { position } = error as { position?: string };
      throw position === undefined
        ? error
        : Object.assign(error as Error, {
            position: String(Number(position) + Array.from(sql.slice(0, sql.indexOf(rest))).length),
          });
    }
  }

  async #send(
    sql: string,
    values: readonly unknown[],
    args: readonly unknown[],
  ): Promise<PgResult | PgResult[]> {
    const query = (): Promise<PgResult | PgResult[]> =>
      this.#whileRunning(() =>
        (this.#shared.realClient.query as (...all: unknown[]) => Promise<PgResult>).apply(
          this.#shared.realClient,
          [...args],
        ),
      );
    return this.#isOpen
      ? this.#shared.send(this, sql, values, query)
      : this.#shared.sendAlone(query);
  }

  async #whileRunning<T>(work: () => Promise<T>): Promise<T> {
    this.#isRunning = true;
    try {
      return await work();
    } finally {
      this.#isRunning = false;
    }
  }
}

function answerTo(command: string): PgResult {
  return { command, rowCount: null, rows: [] };
}
