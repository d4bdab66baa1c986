import type { PgClient, PgResult } from '../connection/pg-client.js';
import type { BeginStatement } from './begin-sql.js';

/**
 * What begins a transaction and its first statement as one message, which saves their round trip;
 * for a statement that is all of its transaction, its COMMIT as well. The server runs the statements
 * of a message one after another, as if they had come singly; only one thing is different: a text
 * that it cannot parse keeps all of them from running.
 *
 * See https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-MULTI-STATEMENT
 */
export class FirstMessage {
  readonly text: string;
  readonly #prefix: string;
  readonly #skipped: number;
  readonly #isAll: boolean;

  /** @param isAll whether the transaction ends with this statement */
  constructor(client: PgClient, begin: readonly BeginStatement[], sql: string, isAll = false) {
    this.#prefix = begin.map((each) => `${inlined(client, each)};`).join('');
    this.#skipped = begin.length;
    this.#isAll = isAll;
    this.text = `${this.#prefix}${sql}${isAll ? ';commit' : ''}`;
  }

  /** What the server has answered to the statement itself. */
  answerIn(result: PgResult | PgResult[]): PgResult | PgResult[] {
    const all = Array.isArray(result) ? result : [result];
    const answers = all.slice(this.#skipped, this.#isAll ? -1 : undefined);
    // Several statements in one text have several answers, and an empty one has none.
    return answers.length === 1 ? answers[0]! : answers;
  }

  /** The server counts the position of an error in the whole text. */
  placed(error: Error): Error {
    const { position } = error as { position?: unknown };
    return position === undefined
      ? error
      : Object.assign(error, {
          position: String(Number(position) - Array.from(this.#prefix).length),
        });
  }
}

/** A message of several statements takes no parameters. */
function inlined(client: PgClient, { sql, values }: BeginStatement): string {
  if (values.length === 0) {
    return sql;
  }
  return sql.replaceAll(/\$(\d+)/g, (_, index: string) =>
    client.escapeLiteral(String(values[Number(index) - 1])),
  );
}
