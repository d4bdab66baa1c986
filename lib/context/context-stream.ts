import { AsyncResource } from 'node:async_hooks';
import { Readable } from 'node:stream';

import {
  InvalidOptionsError,
  SessionClosedError,
  ShuttingDownError,
  StreamFailedError,
  StreamTimeoutError,
  type EndCause,
} from '../errors.js';
import type { Context } from './context.js';
import { endCauseOf, type CutOffError } from './end-cause.js';
import type { ContextRegistry } from './context-registry.js';

/** What a stream is made of, with its options filled in. */
export interface StreamPlan {
  /** What the stream is for, for messages; its context is named so. */
  readonly origin: string;
  /** The limit of the whole stream, in milliseconds. */
  readonly timeoutMs: number;
  readonly objectMode: boolean;
  readonly highWaterMark: number | undefined;
  /** Whether what was read of it before a failing commit may be kept. */
  readonly isReadOnly: boolean;
  /** Begins to read; called inside of the context. */
  begin(context: Context, signal: AbortSignal): AsyncIterator<unknown>;
}

/** The work of a stream that somebody has begun to read. */
interface Work {
  readonly context: Context;
  readonly controller: AbortController;
  readonly timer: NodeJS.Timeout;
  /** None until the source was called. */
  readonly iterator: AsyncIterator<unknown> | undefined;
}

type State =
  | { readonly tag: 'unread' }
  | ({ readonly tag: 'open' } & Work)
  | { readonly tag: 'over' };

const ignore = (): void => undefined;

const READER_GONE: EndCause = {
  code: 'CLIENT_GONE',
  what: 'its reader went away before the end of the stream',
};

/**
 * A stream with a context of its own, from the first read (L2) to its end: committed before the end is
 * passed on (W1), rolled back where the stream fails or is destroyed before.
 */
export class ContextStream extends Readable {
  readonly #registry: ContextRegistry;
  readonly #plan: StreamPlan;
  /** Where it was made: who reads it, from whatever event, has nothing of that request. */
  readonly #maker = new AsyncResource('nestjs-db-context:stream');
  /** Whether it was made before a shutdown, or in a context that the shutdown waits for. */
  readonly #isAdmitted: boolean;
  #state: State = { tag: 'unread' };
  #isReading = false;
  /** The last chunk of a stream that writes: it is passed on when the next one comes, or after the commit. */
  #held: { readonly chunk: unknown } | undefined;
  /** Why it has ended by itself. */
  #failure: Error | undefined;
  /** What ends its context, unless its source has failed. */
  #endCause: EndCause | undefined = READER_GONE;

  constructor(registry: ContextRegistry, plan: StreamPlan) {
    super({
      objectMode: plan.objectMode,
      ...(plan.highWaterMark !== undefined && { highWaterMark: plan.highWaterMark }),
    });
    this.#registry = registry;
    this.#plan = plan;
    this.#isAdmitted = !registry.shutdown.isClosed || registry.active() !== undefined;
    // Failures are in the log. Without a listener, one that comes while nobody reads ends the process.
    this.on('error', ignore);
  }

  override _read(): void {
    if (!this.#isReading) {
      this.#isReading = true;
      void this.#maker.runInAsyncScope(() => this.#advance());
    }
  }

  override _destroy(reason: Error | null, onReleased: (reason: Error | null) => void): void {
    const released = this.#maker.runInAsyncScope(() => this.#release(reason));
    void released.then(() => onReleased(reason));
  }

  /** Passes values on for as long as they are wanted. Never throws. */
  async #advance(): Promise<void> {
    try {
      const { context, iterator } = this.#begun();
      let isWanted = true;
      while (isWanted) {
        const { done, value } = await this.#registry.runIn(context, () => iterator.next());
        if (this.destroyed) {
          return;
        }
        isWanted = done === true ? await this.#finish(context) : this.#pass(value);
      }
      this.#isReading = false;
    } catch (error) {
      if (!this.destroyed) {
        this.#fail(error);
      }
    }
  }

  #begun(): { readonly context: Context; readonly iterator: AsyncIterator<unknown> } {
    const state = this.#state;
    if (state.tag === 'open' && state.iterator !== undefined) {
      return { context: state.context, iterator: state.iterator };
    }
    if (!this.#isAdmitted) {
      throw new ShuttingDownError(undefined, this.#plan.origin);
    }
    const { origin, timeoutMs } = this.#plan;
    const context = this.#registry.openLimited(origin, timeoutMs);
    context.onExpire = (error) => this.#cut(error);
    const controller = new AbortController();
    const work = { tag: 'open', context, controller, timer: this.#expireLater(context) } as const;
    this.#state = { ...work, iterator: undefined };
    const iterator = this.#registry.runIn(context, () =>
      this.#plan.begin(context, controller.signal),
    );
    this.#state = { ...work, iterator };
    return { context, iterator };
  }

  /** Cuts it at its limit, or where a shutdown that has begun before it does not wait any longer. */
  #expireLater(context: Context): NodeJS.Timeout {
    const { origin, timeoutMs } = this.#plan;
    const graceMs = this.#registry.shutdown.graceMs ?? Infinity;
    const expire = (): void => {
      // The COMMIT that is under way has a limit of its own.
      if (!context.isClosed) {
        this.#cut(
          graceMs < timeoutMs
            ? new ShuttingDownError(origin)
            : new StreamTimeoutError(origin, timeoutMs),
        );
      }
    };
    return setTimeout(expire, Math.min(timeoutMs, graceMs)).unref();
  }

  /** @returns whether more is wanted */
  #pass(value: unknown): boolean {
    this.#assertChunk(value);
    if (this.#plan.isReadOnly) {
      return this.#push(value);
    }
    const earlier = this.#held;
    this.#held = { chunk: value };
    return earlier === undefined || this.#push(earlier.chunk);
  }

  #push(chunk: unknown): boolean {
    // Node takes a chunk without bytes for none, and would not ask for the next one.
    const isEmpty = !this.readableObjectMode && (chunk as string | Uint8Array).length === 0;
    return isEmpty || this.push(chunk);
  }

  #assertChunk(value: unknown): void {
    const isChunk = this.readableObjectMode
      ? value !== null
      : typeof value === 'string' || value instanceof Uint8Array;
    if (!isChunk) {
      throw new InvalidOptionsError(
        this.readableObjectMode
          ? `${this.#plan.origin} was given null, with which Node ends a stream. Leave it out, or wrap it ` +
              'in an object.'
          : `${this.#plan.origin} was given ${value === null ? 'null' : `a value of type ${typeof value}`}, ` +
              'and it is a stream of bytes. Yield strings or Buffers, or make it a stream of objects: ' +
              'dbContext.stream(source, { objectMode: true }).',
      );
    }
  }

  async #finish(context: Context): Promise<false> {
    try {
      await this.#registry.settle(context, 'commit');
    } finally {
      this.#end();
    }
    if (!this.destroyed) {
      if (this.#held !== undefined) {
        this.#push(this.#held.chunk);
      }
      this.push(null);
    }
    return false;
  }

  /** @returns what was under way */
  #end(): Work | undefined {
    const state = this.#state;
    this.#state = { tag: 'over' };
    if (state.tag !== 'open') {
      return undefined;
    }
    clearTimeout(state.timer);
    return state;
  }

  #fail(error: unknown): void {
    const { origin } = this.#plan;
    const isCutOff = this.#registry.shutdown.hasBegun && error instanceof SessionClosedError;
    if (isCutOff) {
      this.#cut(new ShuttingDownError(origin));
    } else if (error instanceof ShuttingDownError) {
      this.#cut(error);
    } else {
      this.#failure = new StreamFailedError(origin, error);
      this.#endCause = undefined;
      this.#registry.report(`${origin} failed`, error);
      this.destroy(this.#failure);
    }
  }

  #cut(failure: CutOffError): void {
    if (!this.destroyed) {
      this.#failure = failure;
      this.#endCause = endCauseOf(failure);
      this.#registry.report(`${this.#plan.origin} was cut`, failure);
      this.destroy(failure);
    }
  }

  /** Rolls back what is under way. Never throws. */
  async #release(reason: Error | null): Promise<void> {
    const work = this.#end();
    if (work === undefined) {
      return;
    }
    const { context, controller, iterator } = work;
    if (reason !== this.#failure && !this.#plan.isReadOnly && context.hasWork) {
      this.#registry.report(
        `what ${this.#plan.origin} had written was rolled back`,
        reason ?? 'it was destroyed before its end',
      );
    }
    controller.abort(reason ?? undefined);
    // Its gates shut first: what the source still sends in its `finally` is refused, and not waited for.
    await this.#registry.abandon(context, this.#endCause);
    void this.#registry
      .runIn(context, async () => iterator?.return?.())
      .catch((failure: unknown) => this.#reportClosing(failure));
  }

  #reportClosing(failure: unknown): void {
    if (!(failure instanceof SessionClosedError)) {
      this.#registry.report(`the end of ${this.#plan.origin} failed`, failure);
    }
  }
}
