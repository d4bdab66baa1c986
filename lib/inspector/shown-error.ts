import { DbContextError } from '../errors.js';
import { errorInfoOf, type ErrorInfo } from '../telemetry/error-info.js';

/** What the codes of this library look like. */
const OWN_CODE = /^[A-Z]+(?:_[A-Z]+)+$/;
/** Their messages quote what the application or the server has said. */
const QUOTING = [
  'CONTEXT_SETTINGS_FAILED',
  'PARTIAL_COMMIT',
  'STREAM_FAILED',
  'TRANSACTION_ABORTED',
  'UNEXPECTED_ROLLBACK',
];
/** The parts of the server that say what functions of the application have written (`raise`, `assert`). */
const SAYS_OTHERS_WORDS = /^exec_stmt_/;
/** MikroORM adds it to the message of the server's error, values included. */
const DETAIL = /\n - detail: .*/s;

/**
 * What may be shown of an error that an event tells of: its message only where this library has written it.
 * That of the application may quote values: MikroORM's "not found" has the condition.
 */
export function withoutOthersWords(info: ErrorInfo | undefined): ErrorInfo | undefined {
  const code = info?.code ?? '';
  const isShown = OWN_CODE.test(code) && !QUOTING.includes(code);
  return info && (isShown ? info : { ...info, message: '' });
}

/** As {@link withoutOthersWords}, where the error itself is known: messages of the server are shown as well. */
export function knownWithoutOthersWords(error: unknown, info = errorInfoOf(error)): ErrorInfo {
  // What the application has written may have a code that looks like one of this library.
  const isOwn = error instanceof DbContextError;
  return isOwn || !isOfServer(error)
    ? { ...info, message: isOwn ? (withoutOthersWords(info)?.message ?? '') : '' }
    : { ...info, message: info.message.replace(DETAIL, '') };
}

/** Whether the server has written the message of an error. */
function isOfServer(error: unknown): boolean {
  if (!(error instanceof Error)) {
    return false;
  }
  const { routine, severity } = error as { routine?: unknown; severity?: unknown };
  return (
    typeof severity === 'string' && typeof routine === 'string' && !SAYS_OTHERS_WORDS.test(routine)
  );
}
