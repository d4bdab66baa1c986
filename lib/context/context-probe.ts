import type { FaultReporter } from '../connection/fault-reporter.js';
import type { Context } from './context.js';
import type { HookCallback, HookKind } from './hook-calls.js';

/** What tools for tests may attach. */
export interface ContextProbe {
  /** The context of code that runs in none. */
  readonly common?: Context | undefined;
  /**
   * A context was opened.
   *
   * @param within the context of the code that opened it, which may have been closed meanwhile
   */
  readonly opened?: (context: Context, within: Context | undefined) => void;
  /** A context has been settled. */
  readonly ended?: (context: Context) => void;
  /** Runs a hook that is due, or does not. */
  readonly runHook?: (
    kind: HookKind,
    callback: HookCallback,
    run: () => Promise<unknown>,
  ) => Promise<unknown>;
}

/** Where faults and warnings are reported that have no caller. */
export interface Reporters {
  readonly report: FaultReporter;
  readonly warn: (message: string) => void;
}
