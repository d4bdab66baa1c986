import type { TransactionWatch } from '../transaction/begin-plan.js';

/** Looks for misuse of one session in development. */
export interface SessionWatch extends TransactionWatch {
  flushBegins(): void;
  flushEnds(): void;
}
