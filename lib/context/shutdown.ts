import { withoutPage } from '../error-page.js';
import { ShuttingDownError, type EndCause } from '../errors.js';
import type { Context } from './context.js';
import { cutOff } from './context-expiry.js';
import type { RunningContexts } from './running-contexts.js';

/**
 * How far the end of an application is: `draining` while it still has consumers, which may open contexts
 * until they are closed themselves, and refuses only what can be sent to another instance; `closed` when
 * all of them are closed, so that what is opened now would find no pool.
 */
type Phase = 'running' | 'draining' | 'closed';

/** Ends the work of an application, in the order in which its modules end (H3). */
export class Shutdown {
  readonly #running: RunningContexts;
  readonly #abandon: (context: Context, cause: EndCause) => Promise<void>;
  readonly #warn: (message: string) => void;
  #phase: Phase = 'running';
  #afterContexts: readonly (() => Promise<void>)[] = [];
  #graceMs: number | undefined;
  #hasWarned = false;

  constructor(
    running: RunningContexts,
    abandon: (context: Context, cause: EndCause) => Promise<void>,
    warn: (message: string) => void,
  ) {
    this.#running = running;
    this.#abandon = abandon;
    this.#warn = warn;
  }

  /** Whether it has begun. */
  get hasBegun(): boolean {
    return this.#phase !== 'running';
  }

  /** Whether all that opens contexts is closed. */
  get isClosed(): boolean {
    return this.#phase === 'closed';
  }

  /** How long a context may go on that is opened now, in milliseconds; `undefined` before it has begun. */
  get graceMs(): number | undefined {
    return this.#graceMs;
  }

  /**
   * The error for what can be sent to another instance. The first one is in the log, since the client
   * does not learn which route it was.
   *
   * @param origin what was to open a context
   */
  refusal(origin: string): ShuttingDownError {
    const error = new ShuttingDownError(undefined, origin);
    if (!this.#hasWarned) {
      this.#hasWarned = true;
      this.#warn(`${withoutPage(error.message)} Further ones are refused without a word here.`);
    }
    return error;
  }

  /**
   * Waits for what runs, and for what is opened meanwhile and has to be answered, while the servers of the
   * application still answer; rolls back what takes longer.
   *
   * @param timeoutMs how long a context may go on, in milliseconds
   */
  async drain(timeoutMs: number): Promise<void> {
    this.#phase = 'draining';
    this.#graceMs = timeoutMs;
    await this.#cutOffAll(await this.#running.untilDrained(timeoutMs));
  }

  /** Has `close` called when the last context has ended; it is for what their ends need, and never throws. */
  afterContexts(close: () => Promise<void>): void {
    this.#afterContexts = [...this.#afterContexts, close];
  }

  /**
   * Opens no more contexts, and waits for those that run; rolls back what takes longer.
   *
   * @param timeoutMs how long a context may go on, in milliseconds
   */
  async close(timeoutMs: number): Promise<void> {
    this.#phase = 'closed';
    this.#graceMs = timeoutMs;
    await this.#cutOffAll(await this.#running.untilIdle(timeoutMs));
    await Promise.all(this.#afterContexts.map((close) => close()));
  }

  async #cutOffAll(late: readonly Context[]): Promise<void> {
    await Promise.all(late.map((each) => this.cutOff(each)));
  }

  /** Rolls back a context whose time is over. */
  async cutOff(context: Context): Promise<void> {
    context.ends.hooks.giveUp();
    const error = new ShuttingDownError(context.origin);
    await cutOff(context, error, (cause) => this.#abandon(context, cause));
  }
}
