import { types } from 'node:util';

import { withoutPage } from '../error-page.js';
import { DbContextError } from '../errors.js';

/**
 * What an event says of an error. The error itself, whose message and `detail` may hold values, is behind
 * {@link UNMASKED}.
 *
 * @publicApi
 */
export interface ErrorInfo {
  /** Name of its class. */
  readonly name: string;
  /** Code of an error of this library, the SQLSTATE of the server's, or the `code` of the application's own. */
  readonly code: string | undefined;
  /** Its message; of an error of the server without the values that it quotes. */
  readonly message: string;
}

/** An error that the server has sent, as `pg` makes it. */
interface ServerError {
  readonly code: string;
  readonly severity: string;
  readonly message: string;
  /** The part of the server that has made it. */
  readonly routine?: string | undefined;
}

/** Those that say what a function has written (`raise`, `assert`). */
const SAYS_WORDS_OF_A_FUNCTION = /^exec_stmt_/;

const MOST_CAUSES = 8;
/** Of longer names and codes the beginning is kept, in characters. */
const LONGEST_NAME = 200;

/** What may be published of an error. */
export function errorInfoOf(error: unknown): ErrorInfo {
  try {
    return infoOf(error);
  } catch {
    // Its getters may throw; to see it must not change what it does.
    return { name: typeof error, code: undefined, message: '' };
  }
}

function infoOf(error: unknown): ErrorInfo {
  if (!isError(error)) {
    return { name: typeof error, code: undefined, message: '' };
  }
  const name = asName((error as { name: unknown }).name) ?? 'Error';
  const code = codeOf(error);
  const server = serverErrorIn(error);
  if (server === undefined) {
    return { name, code, message: withoutPage(error.message) };
  }
  const masked = maskedMessage(server);
  // MikroORM puts the statement before the server's message, with all its values.
  return error instanceof DbContextError
    ? { name, code, message: withMasked(error, masked) }
    : { name, code: code ?? asName(server.code), message: masked };
}

/** The message of an error of this library, which may quote those of its causes as they stand. */
function withMasked({ message, cause }: DbContextError, masked: string): string {
  return causesOf(cause).reduce(
    (text, each) =>
      each.message === '' ? text : text.replaceAll(withoutPage(each.message), () => masked),
    withoutPage(message),
  );
}

/** An error with its causes, the innermost one last. */
function causesOf(error: unknown): readonly Error[] {
  const causes: Error[] = [];
  let each = error;
  while (isError(each) && causes.length < MOST_CAUSES) {
    causes.push(each);
    each = each.cause;
  }
  return causes;
}

/** Also one that Node has made outside of the realm of the application, as the tests of Jest have their own. */
function isError(error: unknown): error is Error {
  return error instanceof Error || types.isNativeError(error);
}

function codeOf(error: Error): string | undefined {
  return asName((error as { code?: unknown }).code);
}

/** A name or a code; the application may have put anything there, of any length. */
function asName(value: unknown): string | undefined {
  if (typeof value !== 'string') {
    return undefined;
  }
  return value.length > LONGEST_NAME ? `${value.slice(0, LONGEST_NAME)} …` : value;
}

/** The error of the server that an error is, or stands for. */
function serverErrorIn(error: Error): ServerError | undefined {
  let found: ServerError | undefined;
  for (const each of causesOf(error)) {
    const { code, severity } = each as { code?: unknown; severity?: unknown };
    if (typeof code === 'string' && typeof severity === 'string') {
      // The innermost one has the message as the server has sent it.
      found = each as unknown as ServerError;
    }
  }
  return found;
}

/** What the server quotes, in the languages that its messages are in, and numbers. */
const QUOTED = /["„“«][^"“”»]*["“”»]|\b\d+\b/g;

/**
 * The message of an error without what it quotes: a name may be a parameter, as in `select $1::regclass`. Those
 * of class 23 name tables and constraints alone; a function may say anything.
 * See https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
function maskedMessage({ code, message, routine = '' }: ServerError): string {
  if (SAYS_WORDS_OF_A_FUNCTION.test(routine)) {
    return 'an error that a function of the database has raised';
  }
  // MikroORM writes the detail into the message, which quotes the row, and the hint.
  const [own = ''] = message.split(/\n - (?:detail|hint): /, 1);
  if (code.startsWith('23')) {
    return own;
  }
  // A value may hold quotes of its own.
  const isData = code.startsWith('22') || code === '42601';
  return isData
    ? own.replace(/".*"/s, '"?"').replaceAll(QUOTED, maskOf)
    : own.replaceAll(QUOTED, maskOf);
}

function maskOf(quoted: string): string {
  return /^\d/.test(quoted) ? '?' : `${quoted[0]}?${quoted.at(-1)}`;
}
