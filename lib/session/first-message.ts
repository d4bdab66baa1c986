import { isServerError, type PgClient, type PgResult } from '../connection/pg-client.js';
import type { BeginStatement } from './begin-sql.js';

/** Who hears of what is sent, and of what MikroORM did not send itself. */
export interface StatementListener {
  onSend(sql: string): void;
  onStatement(sql: string, tookMs: number): void;
}

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

/**
 * Sends what begins a transaction and its first statement as one message.
 *
 * @returns `undefined` if nothing of it has run, so that each has to be sent by itself
 * @throws why the statement failed
 */
export async function sendTogether(
  client: PgClient,
  listener: StatementListener,
  begin: readonly BeginStatement[],
  sql: string,
): Promise<{ readonly answer: PgResult | PgResult[] } | undefined> {
  const message = new FirstMessage(client, begin, sql);
  const startedAt = Date.now();
  const tell = (): void => {
    for (const each of begin) {
      listener.onSend(each.sql);
      listener.onStatement(each.sql, Date.now() - startedAt);
    }
    listener.onSend(sql);
  };
  try {
    const result = await client.query(message.text);
    tell();
    return { answer: message.answerIn(result) };
  } catch (error) {
    if (isServerError(error) && !(await isInTransaction(client))) {
      return undefined;
    }
    tell();
    throw message.placed(error as Error);
  }
}

/**
 * Asks the client only when it knows: `pg` tells of an error before the server has said, in its next
 * message, whether a transaction is open. One more statement is sent after that.
 */
async function isInTransaction(client: PgClient): Promise<boolean> {
  try {
    await client.query('');
  } catch {
    // The connection is gone, and whatever has run with it.
    return true;
  }
  return client.getTransactionStatus() !== 'I';
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
