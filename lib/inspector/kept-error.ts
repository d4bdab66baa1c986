import { bytesOfText, shortened } from './kept-text.js';
import type { ShownError } from './shown-error.js';

/** What a record of an error takes besides its texts, about, in bytes. */
const ERROR_BYTES = 100;

/** An error as it is kept: of a long message the beginning. */
export function keptError({ cause, ...error }: ShownError): ShownError {
  const message = shortened(error.message);
  return { ...error, message, ...(cause !== undefined && { cause: keptError(cause) }) };
}

/** How many bytes an error takes, about. */
export function bytesOfError(error: ShownError | undefined): number {
  if (error === undefined) {
    return 0;
  }
  const { name, code, message, reason, cause } = error;
  return (
    ERROR_BYTES +
    bytesOfText(name) +
    bytesOfText(code) +
    bytesOfText(message) +
    bytesOfText(reason) +
    bytesOfError(cause)
  );
}
