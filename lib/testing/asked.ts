import type { PgResult } from '../postgresql/pg-client.js';

/** The answer to one call of `query()`. */
export type QueryAnswer = PgResult | PgResult[];

/** One call of `query()` on a client that stands for the real one. */
export interface Asked {
  readonly sql: string;
  readonly values: readonly unknown[];
  /** Whether other statements can leave in the same message: not where it has parameters, or a name. */
  readonly takesCompany: boolean;
  /**
   * Sends it on the real client.
   *
   * @param message takes the place of its text
   */
  send(message?: string): Promise<QueryAnswer>;
}

/** The statements that leave in one message with a text of the application; each of them is one. */
export interface Company {
  readonly before?: readonly string[];
  readonly after?: readonly string[];
}

/** The answer to a message. */
export interface Answered {
  /** The answers to the statements that came before the text of the application. */
  readonly before: readonly PgResult[];
  /** The answer to that text, as if it had left alone. */
  readonly answer: QueryAnswer;
}

const NO_STATEMENT: PgResult = { command: null, rowCount: null, rows: [] };

/**
 * Sends a text of the application and other statements as one message.
 *
 * @throws the error of the server, with a position that counts from the beginning of that text
 */
export async function sendInCompany(
  asked: Asked,
  { before = [], after = [] }: Company,
): Promise<Answered> {
  if (before.length + after.length === 0) {
    return { before: [], answer: await asked.send() };
  }
  const prefix = before.map((sql) => `${sql};`).join('');
  // On a line of its own, since the text may end with a comment.
  const suffix = after.length === 0 ? '' : `\n;${after.join(';')}`;
  let answers: PgResult[];
  try {
    answers = [await asked.send(`${prefix}${asked.sql}${suffix}`)].flat();
  } catch (error) {
    throw moved(error, -lengthOf(prefix));
  }
  const own = answers.slice(before.length, answers.length - after.length);
  return {
    before: answers.slice(0, before.length),
    answer: own.length > 1 ? own : (own[0] ?? NO_STATEMENT),
  };
}

/** Moves the position in an error of the server; it counts characters rather than units of UTF-16. */
export function moved(error: unknown, by: number): unknown {
  const { position } = (error ?? {}) as { readonly position?: string };
  return position === undefined
    ? error
    : Object.assign(error as Error, { position: String(Number(position) + by) });
}

/** The number of characters of a text, as PostgreSQL counts them. */
export function lengthOf(text: string): number {
  return Array.from(text).length;
}
