import type { Database, Trace } from '../program.js';
import type { ModelContext } from './context.js';
import { Undetermined } from './failures.js';
import type { ModelSession } from './session.js';

export interface Late {
  readonly id: number;
  readonly trace: Trace;
}

/** Where the code is that runs. */
export interface Env {
  readonly context: ModelContext;
  /** Entity managers that were handed to the code; the injected ones elsewhere. */
  readonly own: Readonly<Partial<Record<Database, ModelSession>>>;
  /** Numbers of the steps that start when the innermost block around them has ended. */
  readonly late: Readonly<Record<Database, Late[] | undefined>>;
  readonly trace: Trace;
  /** Where the manager at hand is the one that the callback of a nested transaction was given. */
  readonly forks: readonly Database[];
  /** The session whose nested transaction the code is in: MikroORM knows the innermost one alone. */
  readonly ambient: ModelSession | undefined;
  /** The `forks` for which the code is in a further nested transaction, whose manager it does not use. */
  readonly outerForks: readonly Database[];
}

export function assertAlive(session: ModelSession): void {
  if (session.isGone) {
    throw new Undetermined('a session that is gone, other than for a statement');
  }
}
