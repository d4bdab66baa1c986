import type { ShownError } from '../shown-error.js';
import type { RequestRecord } from '../request-record.js';
import { grouped } from './grouped.js';
import type { ShownReason } from './view-types.js';

/** The lowest status that tells a client of a failure. */
const LOWEST_FAILURE = 400;

/** Why a request was rolled back: first what has decided it. */
export function reasonsOf(record: RequestRecord): readonly ShownReason[] {
  const { contexts, transactions, handlerError, status = 0, isAbandoned } = record;
  const ended = contexts.filter(({ isRetried }) => !isRetried);
  // One error is often seen by the handler, the context and the transaction: the first to know is named.
  const [reasons] = [
    ended.flatMap(({ reason }) =>
      reason === undefined ? [] : [{ text: `Because ${reason}.`, error: undefined }],
    ),
    asReasons('Its handler has thrown', [handlerError]),
    asReasons(
      'Its commit has failed',
      ended.map(({ error }) => error),
    ),
    asReasons(
      'Its transaction could not be committed',
      transactions.filter(({ outcome }) => outcome !== 'committed').map(({ error }) => error),
    ),
  ].filter((each) => each.length > 0);
  if (reasons !== undefined) {
    return withoutDoubles(reasons);
  }
  const text =
    status >= LOWEST_FAILURE
      ? `Its answer had the status ${status}.`
      : isAbandoned
        ? 'Its client has left.'
        : 'Its own code has rolled it back.';
  return [{ text, error: undefined }];
}

function asReasons(text: string, errors: readonly (ShownError | undefined)[]): ShownReason[] {
  return errors.flatMap((error) => (error === undefined ? [] : [{ text, error }]));
}

function withoutDoubles(reasons: readonly ShownReason[]): readonly ShownReason[] {
  return grouped(reasons, keyOf).map(([, [first]]) => first);
}

function keyOf({ text, error }: ShownReason): string {
  return error === undefined ? text : `${error.name} ${error.code} ${error.message}`;
}
