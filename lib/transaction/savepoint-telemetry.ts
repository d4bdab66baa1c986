import type { Outcome } from '../outcome.js';
import { savepointEnd, savepointSet } from '../telemetry/channels.js';
import type { TransactionInfo } from '../telemetry/payloads.js';

/** A savepoint, as far as events show it. */
interface Observed {
  readonly name: string;
  /** Whether the server has set it. */
  readonly isSet: boolean;
  readonly whole: { readonly telemetry: TransactionInfo | undefined };
  /** How it has ended; `undefined` while it has not. */
  readonly outcome: Outcome | undefined;
}

/** The server has set a savepoint. */
export function publishSet({ name, whole, isSet }: Observed): void {
  const transaction = isSet && savepointSet.hasSubscribers ? whole.telemetry : undefined;
  if (transaction !== undefined) {
    savepointSet.publish({ transaction, name });
  }
}

/** A savepoint that was set ends; what has ended before does so once. */
export function publishEnd(
  { name, whole, isSet, outcome: before }: Observed,
  outcome: Exclude<Outcome, 'untouched'>,
): void {
  const isFirst = isSet && savepointEnd.hasSubscribers && before === undefined;
  const transaction = isFirst ? whole.telemetry : undefined;
  if (transaction !== undefined) {
    savepointEnd.publish({ transaction, name, outcome });
  }
}
