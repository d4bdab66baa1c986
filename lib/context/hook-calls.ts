import type { FaultReporter } from '../connection/fault-reporter.js';
import { millisecondsSince, TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import { HookTimeoutError, ShuttingDownError } from '../errors.js';
import type { Session } from '../session/session.js';
import { hookEnd } from '../telemetry/channels.js';
import { publishedHook } from './hook-telemetry.js';

/** When a hook runs. */
export type HookKind = 'beforeCommit' | 'onCommit' | 'onRollback';

/** What a hook does. */
export type HookCallback = () => unknown;

/** What the hooks of a context need of its application. */
export interface HookEnvironment {
  /** Longest time that one hook may take, in milliseconds. */
  readonly timeoutMs: number;
  /** Runs a hook in a context of its own. */
  readonly run: (kind: HookKind, callback: HookCallback, origin: string) => Promise<unknown>;
  /** Of the application: called with each session that is about to commit. */
  readonly beforeCommit: ((session: Session) => unknown) | undefined;
  readonly report: FaultReporter;
}

/** Calls the hooks of one context, each within its limit. */
export class HookCalls {
  readonly #environment: HookEnvironment;
  /** The context that they belong to; it may get its name later. */
  readonly #owner: { readonly origin: string };
  /** Resolves when hooks are no longer waited for; made as the first one is, or as they are given up. */
  #givenUp: PromiseWithResolvers<void> | undefined;

  constructor(environment: HookEnvironment, owner: { readonly origin: string }) {
    this.#environment = environment;
    this.#owner = owner;
  }

  /**
   * Calls what runs before a commit.
   *
   * @throws what it throws, {@link HookTimeoutError}
   */
  before(what: string, callback: HookCallback): Promise<void> {
    return this.#within(
      what,
      hookEnd.hasSubscribers
        ? () => publishedHook(this.#owner.origin, 'beforeCommit', callback)
        : callback,
    );
  }

  /** Calls what follows an end. Never throws: it changes nothing of what has been decided. */
  async after(kind: HookKind, callback: HookCallback): Promise<void> {
    const { run, report } = this.#environment;
    const { origin } = this.#owner;
    try {
      await this.#untilGivenUp(`an ${kind} hook`, () =>
        hookEnd.hasSubscribers
          ? publishedHook(origin, kind, () => run(kind, callback, origin))
          : run(kind, callback, origin),
      );
    } catch (error) {
      report(`an ${kind} hook of ${origin} failed`, error);
    }
  }

  /**
   * The time of the shutdown is over (H3): those that follow an end are still called, one after another,
   * but one that does not return at once is left to itself. Those before a commit are not concerned: a
   * rollback of the context gives the commit up, whatever it waits for.
   */
  giveUp(): void {
    this.#givenUp ??= Promise.withResolvers();
    this.#givenUp.resolve();
  }

  /** @throws {@link HookTimeoutError} */
  async #within(what: string, callback: HookCallback): Promise<void> {
    const { timeoutMs } = this.#environment;
    const done = (async () => callback())();
    if ((await withinLimit(done, timeoutMs)) === TIMED_OUT) {
      throw new HookTimeoutError(what, timeoutMs, 'hookTimeoutMs', this.#owner);
    }
  }

  /** As `#within()`, but no longer than until the hooks are given up. */
  async #untilGivenUp(what: string, callback: () => Promise<unknown>): Promise<void> {
    this.#givenUp ??= Promise.withResolvers();
    const startedAt = performance.now();
    const running = (async () => callback())();
    const isGivenUp = await Promise.race([
      this.#within(what, () => running).then(() => false),
      // One that has nothing to wait for has returned by then.
      this.#givenUp.promise.then(async () => (await withinLimit(running, 0)) === TIMED_OUT),
    ]).catch((error: unknown) => {
      // The shutdown may end the context that the hook itself runs in first.
      if (error instanceof ShuttingDownError && error.cutOff !== undefined) {
        return true;
      }
      throw error;
    });
    if (isGivenUp) {
      throw new HookTimeoutError(
        what,
        millisecondsSince(startedAt),
        'shutdownTimeoutMs',
        this.#owner,
      );
    }
  }
}
