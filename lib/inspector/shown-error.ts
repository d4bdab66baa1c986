import { ConnectionFailedError, DbContextError, UnexpectedRollbackError } from '../errors.js';
import { errorInfoOf, type ErrorInfo } from '../telemetry/error-info.js';
import type { ServerMessages } from './server-messages.js';

/** What is kept of an error. */
export interface ShownError extends ErrorInfo {
  /** Why a commit became a rollback, see `UnexpectedRollbackError.reason`. */
  readonly reason?: string | undefined;
  /** What has led to an error of this library. */
  readonly cause?: ErrorInfo | undefined;
}

/** What the codes of this library look like. */
const OWN_CODE = /^[A-Z]+(?:_[A-Z]+)+$/;
/** Messages of this library that quote what the application or the server has said, and where they do. */
const QUOTES: Readonly<Record<string, RegExp>> = {
  BEFORE_SESSION_FAILED: /(?<=failed: ).*(?=\. The transaction did not begin)/s,
  CONTEXT_SETTINGS_FAILED: /(?<=computed): .*(?=\. The transaction did not begin)/s,
  TRANSACTION_ABORTED: / \(.*\)(?=;)/s,
  UNEXPECTED_ROLLBACK: / \(.*\)(?=\.$)/s,
};
/** The parts of the server that say what functions of the application have written (`raise`, `assert`). */
const SAYS_OTHERS_WORDS = /^exec_stmt_/;

/**
 * What may be shown of an error that an event tells of, where the error itself is not known: its message only
 * where this library has written it. That of the application may quote values: MikroORM's "not found" has the
 * condition.
 */
export function withoutOthersWords(info: ErrorInfo | undefined): ErrorInfo | undefined {
  const code = info?.code ?? '';
  return info && { ...info, message: OWN_CODE.test(code) ? ownMessage(info) : '' };
}

/**
 * As {@link withoutOthersWords}, where the error itself is known: messages of the server are shown as well, and
 * what has led to an error of this library is shown by itself.
 *
 * @param heard what the server has said in the request; the application may have changed the error since
 */
export function knownWithoutOthersWords(
  error: unknown,
  heard: ServerMessages,
  info = errorInfoOf(error),
): ShownError {
  // What the application has written may have a code that looks like one of this library.
  if (error instanceof DbContextError) {
    const { cause } = error;
    return {
      ...info,
      message: ownMessage(info),
      reason: error instanceof UnexpectedRollbackError ? error.reason : undefined,
      cause: cause === undefined ? undefined : withoutCause(causeOf(error, heard)),
    };
  }
  return { ...info, message: isOfServer(error) && heard.has(info) ? info.message : '' };
}

function causeOf(error: DbContextError, heard: ServerMessages): ShownError {
  const { cause } = error;
  const info = errorInfoOf(cause);
  // No code of the application has seen it, and no statement was answered by it.
  return error instanceof ConnectionFailedError && isOfServer(cause)
    ? info
    : knownWithoutOthersWords(cause, heard, info);
}

function withoutCause({ name, code, message }: ErrorInfo): ErrorInfo {
  return { name, code, message };
}

function ownMessage({ code = '', message }: ErrorInfo): string {
  const quotes = QUOTES[code];
  return quotes === undefined ? message : message.replace(quotes, '');
}

/** Whether an error has the fields of one that the server has sent, in words of its own. */
export function isOfServer(error: unknown): boolean {
  if (!(error instanceof Error)) {
    return false;
  }
  const { routine, severity } = error as { routine?: unknown; severity?: unknown };
  return (
    typeof severity === 'string' && typeof routine === 'string' && !SAYS_OTHERS_WORDS.test(routine)
  );
}
