import type { HeldMethod } from './node-response.js';

interface HeldCall {
  readonly method: HeldMethod;
  readonly parameters: readonly unknown[];
}

/** The calls by which a response would have been sent, in their order, until it is clear whether it may be. */
export class HeldCalls {
  #calls: HeldCall[] = [];
  #bytes = 0;
  #isEnded = false;
  #isDestroyed = false;

  /** Whether all of the answer is there. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Whether the sender waits for a part of it to leave. */
  get isAwaited(): boolean {
    return this.#calls.some(({ parameters }) => callbackOf(parameters) !== undefined);
  }

  /** The bytes of the chunks that are kept. */
  get bytes(): number {
    return this.#bytes;
  }

  add(method: HeldMethod, parameters: readonly unknown[]): void {
    this.#calls.push({ method, parameters });
    this.#isEnded ||= method === 'end';
    this.#isDestroyed ||= method === 'destroy';
    const [chunk] = parameters;
    if (
      (method === 'write' || method === 'end') &&
      (typeof chunk === 'string' || chunk instanceof Uint8Array)
    ) {
      this.#bytes += chunk.length;
    }
  }

  /**
   * Makes the calls, and forgets them.
   *
   * @returns whether a source that was told to wait may go on
   */
  replay(call: (method: HeldMethod, parameters: readonly unknown[]) => unknown): boolean {
    let hasRoom = false;
    for (const { method, parameters } of this.#take()) {
      const result = call(method, parameters);
      hasRoom = method === 'write' ? result === true : hasRoom;
    }
    return hasRoom && !this.#isEnded && !this.#isDestroyed;
  }

  /** Forgets the calls, and gives `error` to those who wait for a part to leave. */
  refuse(error: Error): void {
    this.#take().forEach(({ parameters }) => refuseCall(parameters, error));
  }

  #take(): readonly HeldCall[] {
    const calls = this.#calls;
    this.#calls = [];
    this.#bytes = 0;
    return calls;
  }
}

/** Gives `error` to the callback of a `write()` or an `end()`, if there is one. */
export function refuseCall(parameters: readonly unknown[], error: Error): void {
  const callback = callbackOf(parameters);
  if (callback !== undefined) {
    process.nextTick(callback, error);
  }
}

/** The callback of a `write()` or an `end()`, which Node takes last. */
function callbackOf(parameters: readonly unknown[]): ((error: Error) => void) | undefined {
  return parameters.findLast((each) => typeof each === 'function') as
    | ((error: Error) => void)
    | undefined;
}
