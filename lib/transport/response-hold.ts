import { appearBegun, headersSent } from './begun-appearance.js';
import { HeldHead } from './held-head.js';
import type { NodeResponse, SendingMethods } from './node-response.js';
import { assertSendable } from './sending-checks.js';

/** What is asked when a response begins. */
export interface BeginListener {
  /**
   * @param status the status that the response will have
   * @returns whether the response is to be held until `release()` or `drop()` is called
   */
  begins(status: number): boolean;
}

type SendingMethod = keyof SendingMethods;

interface HeldCall {
  readonly method: SendingMethod;
  readonly parameters: readonly unknown[];
}

/**
 * `armed`: the response has not begun. `holding`: it has, and nothing of it leaves. `released`: it goes its
 * way. `dropped`: what was held is gone, and another answer may take its place.
 */
type State = 'armed' | 'holding' | 'released' | 'dropped';

const SENDING: readonly SendingMethod[] = ['writeHead', 'flushHeaders', 'write', 'end'];

/** The headers that describe the body that was dropped, and would not fit another. */
const HEADERS_OF_BODY = [
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-length',
  'content-range',
  'content-type',
  'etag',
  'expires',
  'last-modified',
  'location',
  'transfer-encoding',
] as const;

const SERVER_ERROR = 500;

/**
 * Holds a response back from its first byte on, until it is clear whether it may be sent (W1). While it is
 * held, the response looks begun, and `write()` returns `false`: what a source that heeds back-pressure has
 * written so far is all that is kept in memory.
 */
export class ResponseHold {
  readonly #raw: NodeResponse;
  readonly #listener: BeginListener;
  /** The methods that the response had before. */
  readonly #own: SendingMethods;
  readonly #patches: SendingMethods;
  #state: State = 'armed';
  #calls: HeldCall[] = [];
  #status = 0;
  #isEnded = false;
  #heldBytes = 0;
  #disappear: (() => void) | undefined;
  #head: HeldHead | undefined;
  #error: Error | undefined;

  constructor(raw: NodeResponse, listener: BeginListener) {
    this.#raw = raw;
    this.#listener = listener;
    this.#own = {
      writeHead: raw.writeHead,
      flushHeaders: raw.flushHeaders,
      write: raw.write,
      end: raw.end,
    };
    // Made here rather than where they are assigned: V8 puts a function literal that is assigned to a
    // property into the old space, where it keeps the request alive until a major collection.
    const writeHead = (...parameters: readonly unknown[]): unknown =>
      this.#called('writeHead', parameters);
    const flushHeaders = (): void => void this.#called('flushHeaders', []);
    const write = (...parameters: readonly unknown[]): boolean =>
      this.#called('write', parameters) as boolean;
    const end = (...parameters: readonly unknown[]): unknown => this.#called('end', parameters);
    this.#patches = { writeHead, flushHeaders, write, end };
    raw.writeHead = writeHead;
    raw.flushHeaders = flushHeaders;
    raw.write = write;
    raw.end = end;
  }

  /** Whether the response has begun, and nothing of it has left. */
  get isHolding(): boolean {
    return this.#state === 'holding';
  }

  /** Whether all of the answer is there. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Whether the sender waits for a part of what is held to leave. */
  get isAwaited(): boolean {
    return this.#calls.some(({ parameters }) => callbackOf(parameters) !== undefined);
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Sends what was held, and lets the rest pass. A response that has not begun is left alone from now on. */
  release(): void {
    if (this.#state === 'dropped') {
      return;
    }
    const wasHolding = this.#state === 'holding';
    this.#state = 'released';
    this.#restore();
    if (wasHolding) {
      try {
        this.#replay();
      } catch (error) {
        // Half an answer must not look like a whole one.
        this.#raw.destroy(error as Error);
      }
    }
  }

  /**
   * Forgets what was held, so that another answer can be given. What the sender of the first one goes on to
   * write is thrown away once that other answer is complete.
   */
  drop(error: Error): void {
    this.#state = 'dropped';
    this.#error = error;
    this.#disappear?.();
    this.#disappear = undefined;
    const calls = this.#calls;
    this.#calls = [];
    this.#heldBytes = 0;
    if (this.#raw.headersSent) {
      return;
    }
    // What a commit of one of several connections has brought about holds for another answer, too.
    this.#head?.apply();
    // Nothing that is sent from here on is a success.
    this.#raw.statusCode = SERVER_ERROR;
    HEADERS_OF_BODY.forEach((name) => this.#raw.removeHeader(name));
    calls.forEach(({ parameters }) => tell(parameters, error));
  }

  #called(method: SendingMethod, parameters: readonly unknown[]): unknown {
    if (this.#state === 'armed' || this.#state === 'holding') {
      assertSendable(method, parameters);
    }
    if (this.#state === 'armed') {
      const status = method === 'writeHead' ? Number(parameters[0]) : this.#raw.statusCode;
      // What the listener does may send something itself.
      this.#state = 'released';
      if (this.#listener.begins(status)) {
        this.#state = 'holding';
        this.#status = status;
        this.#disappear = appearBegun(this.#raw, this);
        this.#head = new HeldHead(this.#raw);
      } else if (this.#state === 'released') {
        this.#restore();
      }
      return this.#state === 'holding'
        ? this.#hold(method, parameters)
        : this.#pass(method, parameters);
    }
    if (this.#state === 'holding') {
      if (method === 'writeHead') {
        throw headersSent('write headers');
      }
      return this.#hold(method, parameters);
    }
    if (this.#error !== undefined && this.#raw.writableEnded) {
      tell(parameters, this.#error);
      return method === 'write' ? false : this.#raw;
    }
    return this.#pass(method, parameters);
  }

  #pass(method: SendingMethod, parameters: readonly unknown[]): unknown {
    return Reflect.apply(this.#own[method], this.#raw, parameters);
  }

  #hold(method: SendingMethod, parameters: readonly unknown[]): unknown {
    this.#calls.push({ method, parameters });
    this.#isEnded ||= method === 'end';
    if (method === 'writeHead') {
      this.#head!.parameters = parameters;
      return this.#raw;
    }
    const [chunk] = parameters;
    if (typeof chunk === 'string' || chunk instanceof Uint8Array) {
      this.#heldBytes += chunk.length;
    }
    return method === 'end' ? this.#raw : false;
  }

  #replay(): void {
    const raw = this.#raw;
    const head = this.#head!;
    raw.statusCode = this.#status;
    head.apply();
    let hasRoom = false;
    for (const { method, parameters } of this.#calls) {
      const result = this.#pass(
        method,
        method === 'writeHead' ? head.without(parameters) : parameters,
      );
      hasRoom = method === 'write' ? result === true : hasRoom;
    }
    this.#calls = [];
    this.#heldBytes = 0;
    if (hasRoom && !this.#isEnded) {
      raw.emit('drain');
    }
  }

  #restore(): void {
    this.#disappear?.();
    this.#disappear = undefined;
    for (const method of SENDING) {
      // Something else may have put its own function around ours; ours then hands everything on.
      if (this.#raw[method] === this.#patches[method]) {
        this.#raw[method] = this.#own[method] as never;
      }
    }
  }
}

/** The callback of a `write()` or an `end()`, which Node takes last. */
function callbackOf(parameters: readonly unknown[]): ((error: Error) => void) | undefined {
  return parameters.findLast((each) => typeof each === 'function') as
    | ((error: Error) => void)
    | undefined;
}

function tell(parameters: readonly unknown[], error: Error): void {
  const callback = callbackOf(parameters);
  if (callback !== undefined) {
    process.nextTick(callback, error);
  }
}
