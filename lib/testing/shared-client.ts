import { EventEmitter } from 'node:events';
import { callbackify } from 'node:util';

import type { Holder } from '../connection/claim.js';
import { COMMIT_WITH_QUESTION, HAS_WRITTEN } from '../postgresql/commit-message.js';
import type { OnSend, PgClient, PgResult } from '../postgresql/pg-client.js';
import { lengthOf, moved, type Asked, type QueryAnswer } from './asked.js';
import { TestIsolationError } from './errors.js';
import type { SharedConnection, SharedParty } from './shared-connection.js';
import type { Layer } from './test-layer.js';

const BEGIN = /^\s*(?:begin|start\s+transaction)\b(?<modes>[^;]*);?\s*(?<rest>[\s\S]*)$/i;
/** The end of a text with one read as its whole transaction; the read itself holds no semicolon. */
const COMMIT_OF_READ = /;commit$/;
const COMMIT = /^\s*(?:commit|end)(?:\s+(?:work|transaction))?\s*;?\s*$/i;
const ROLLBACK = /^\s*(?:rollback|abort)(?:\s+(?:work|transaction))?\s*;?\s*$/i;

type Callback = (error: Error | null, result: QueryAnswer) => void;

/**
 * The client that a pool hands out while a test shares its transaction. To its user it looks like a
 * client of its own, whose BEGIN, COMMIT and ROLLBACK are those of a savepoint.
 */
export class SharedClient implements PgClient, SharedParty {
  readonly holder: Holder | undefined;
  /** What its work belongs to. */
  readonly layer: Layer;
  readonly connection = Object.assign(new EventEmitter(), {
    stream: { destroy: (): void => undefined },
  });
  readonly #shared: SharedConnection;
  #isOpen = false;
  #isReleased = false;
  #isRunning = false;

  constructor(shared: SharedConnection, holder: Holder | undefined) {
    this.#shared = shared;
    this.layer = shared.layer;
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

  /** Each statement is answered when it is settled: what comes later waits for its turn. */
  readonly readyForQuery = true;

  getTransactionStatus(): 'I' | 'T' | 'E' | null {
    return this.#isOpen ? this.#shared.realClient.getTransactionStatus() : 'I';
  }

  on(_event: 'error', listener: (error: Error) => void): this {
    // The session of the test is refused with an error that says more.
    if (this.holder !== this.layer.holder) {
      this.#shared.errors.listeners.add(listener);
    }
    return this;
  }

  off(_event: 'error', listener: (error: Error) => void): this {
    this.#shared.errors.listeners.delete(listener);
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
  query(...args: readonly unknown[]): Promise<QueryAnswer> {
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

  async #query(args: readonly unknown[]): Promise<QueryAnswer> {
    const asked = this.#asked(args);
    const { sql } = asked;
    const begin = BEGIN.exec(sql);
    // In an open transaction the server takes it as a statement, with a warning.
    if (begin !== null && !this.#isOpen) {
      return this.#begin(sql, begin.groups!['modes']!, begin.groups!['rest']!);
    }
    if (sql === COMMIT_WITH_QUESTION) {
      return this.#commit([HAS_WRITTEN]);
    }
    if (COMMIT.test(sql)) {
      const [answer] = await this.#commit();
      return answer!;
    }
    if (ROLLBACK.test(sql)) {
      if (this.#isOpen) {
        await this.#shared.rollBack(this);
        this.#isOpen = false;
      }
      return answerTo('ROLLBACK');
    }
    return this.#send(asked);
  }

  #asked(args: readonly unknown[]): Asked {
    const [first] = args;
    if (typeof (first as { readonly submit?: unknown } | null)?.submit === 'function') {
      throw this.#shared.refusal(
        'a cursor of pg keeps its connection to itself. Stream through the session, whose cursors ' +
          'are statements, or use the cursor in dbContext.withClient().',
      );
    }
    const isText = typeof first === 'string';
    const config = (isText ? { text: first } : (first ?? {})) as Readonly<Record<string, unknown>>;
    const values = (args[1] ?? config['values'] ?? []) as readonly unknown[];
    const isPlain = Object.keys(config).every((key) => key === 'text' || key === 'values');
    return {
      sql: String(config['text']),
      values,
      takesCompany: isPlain && values.length === 0,
      send: (message) => this.#onRealClient(message === undefined ? args : [message]),
    };
  }

  async #begin(sql: string, modes: string, rest: string): Promise<QueryAnswer> {
    const answer = answerTo('BEGIN');
    const isReadOnly = /\bread\s+only\b/i.test(modes);
    if (rest === '') {
      await this.#opening(this.#shared.open(this, isReadOnly));
      return answer;
    }
    const isWhole = COMMIT_OF_READ.test(rest);
    const asked = this.#asked([rest.replace(COMMIT_OF_READ, '')]);
    try {
      const sent =
        isWhole && isReadOnly
          ? this.#shared.readWhole(this, { asked, isReadOnly })
          : this.#shared.openWith(this, { asked, isReadOnly });
      const answers = [answer, await this.#opening(sent)].flat();
      return isWhole ? [...answers, ...(await this.#commit())] : answers;
    } catch (error) {
      throw moved(error, lengthOf(sql.slice(0, sql.indexOf(rest))));
    }
  }

  /** Finds out, after a message that begins the savepoint, whether it has. */
  async #opening<T>(sent: Promise<T>): Promise<T> {
    try {
      return await sent;
    } finally {
      this.#isOpen = this.#shared.isOpen(this);
      if (this.#isOpen) {
        // It stands for the answer to BEGIN.
        this.connection.emit('commandComplete');
      }
    }
  }

  /**
   * Commits, after the answers to some questions.
   *
   * @returns the answers to them, and to COMMIT
   */
  async #commit(questions: readonly string[] = []): Promise<PgResult[]> {
    if (!this.#isOpen) {
      return [answerTo('COMMIT')];
    }
    const answers = await this.#shared.commit(this, questions).catch((error: unknown) => {
      throw asRefusal(error);
    });
    this.#isOpen = false;
    return answers === undefined ? [answerTo('ROLLBACK')] : [...answers, answerTo('COMMIT')];
  }

  #send(asked: Asked): Promise<QueryAnswer> {
    return this.#isOpen ? this.#shared.send(this, asked) : this.#shared.sendAlone(this, asked);
  }

  async #onRealClient(args: readonly unknown[]): Promise<QueryAnswer> {
    const { realClient } = this.#shared;
    return this.#whileRunning(() =>
      (realClient.query as (...all: unknown[]) => Promise<QueryAnswer>).apply(realClient, [
        ...args,
      ]),
    );
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

/**
 * Makes an error of the kit, with which a COMMIT was not sent, one of a server that has refused it: nothing is
 * saved, where any other error would mean that it may be.
 */
function asRefusal(error: unknown): unknown {
  return error instanceof TestIsolationError
    ? Object.defineProperty(error, 'severity', { value: 'ERROR' })
    : error;
}

function answerTo(command: string): PgResult {
  return { command, rowCount: null, rows: [] };
}
