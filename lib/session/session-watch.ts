import type { EntityManager } from '@mikro-orm/core';

import type { TransactionWatch } from '../transaction/begin-plan.js';

/** Looks for misuse of one session in development. */
export interface SessionWatch extends TransactionWatch {
  flushBegins(): void;
  flushEnds(): void;
  /** A manager was made of the session, or of a fork of it, that has entities of its own. */
  forked(fork: EntityManager): void;
}
