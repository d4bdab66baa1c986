import type { BeginStatement } from './begin-statements.js';
import type { PgClient, PgResult } from './pg-client.js';

/**
 * What begins a transaction and its first statement as one message, which saves their round trip;
 * for a statement that is all of its transaction, its COMMIT as well. The server runs the statements
 * of a message one after another, as if they had come singly, with one difference: a text that it
 * cannot parse keeps all of them from running.
 *
 * See https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-MULTI-STATEMENT
 */
export class FirstMessage {
  readonly #text: string;
  readonly #prefix: string;
  readonly #begin: readonly BeginStatement[];
  readonly #sql: string;
  readonly #isAll: boolean;
  #hasBegun = false;

  /** @param isAll whether the transaction ends with this statement */
  constructor(client: PgClient, begin: readonly BeginStatement[], sql: string, isAll = false) {
    this.#prefix = begin.map((each) => `${inlined(client, each)};`).join('');
    this.#begin = begin;
    this.#sql = sql;
    this.#isAll = isAll;
    this.#text = `${this.#prefix}${sql}${isAll ? ';commit' : ''}`;
  }

  /** The texts of its statements, in order. */
  get texts(): readonly string[] {
    const begin = this.#begin.map(({ sql }) => sql);
    return this.#isAll ? [...begin, this.#sql, 'commit'] : [...begin, this.#sql];
  }

  /** Whether BEGIN was answered; if not, nothing of the message has run. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /**
   * Sends the message.
   *
   * @returns the answer to the first statement itself; of no statement, where BEGIN was not answered
   *   first, or COMMIT not last
   * @throws the server's error, with a `position` that counts from the beginning of that statement
   */
  async sendOn(client: PgClient): Promise<PgResult | PgResult[]> {
    const { connection } = client;
    const noteBegun = (): void => {
      this.#hasBegun = true;
    };
    // Not `once()`, which makes a function of its own for each call.
    connection.on('commandComplete', noteBegun);
    try {
      return this.#answerIn(await client.query(this.#text));
    } catch (error) {
      throw this.#placed(error as Error);
    } finally {
      connection.off('commandComplete', noteBegun);
    }
  }

  #answerIn(result: PgResult | PgResult[]): PgResult | PgResult[] {
    const all = Array.isArray(result) ? result : [result];
    if (all[0]?.command !== 'BEGIN' || (this.#isAll && all.at(-1)?.command !== 'COMMIT')) {
      return [];
    }
    const answers = all.slice(this.#begin.length, this.#isAll ? -1 : undefined);
    // A text of several statements has several answers, and an empty text has none.
    return answers.length === 1 ? answers[0]! : answers;
  }

  #placed(error: Error): Error {
    const { position } = error as { position?: unknown };
    return position === undefined
      ? error
      : Object.assign(error, {
          position: String(Number(position) - Array.from(this.#prefix).length),
        });
  }
}

/** A message of several statements takes no parameters, so their values become literals. */
function inlined(client: PgClient, { sql, values }: BeginStatement): string {
  if (values.length === 0) {
    return sql;
  }
  return sql.replaceAll(/\$(\d+)/g, (_, index: string) =>
    client.escapeLiteral(String(values[Number(index) - 1])),
  );
}
