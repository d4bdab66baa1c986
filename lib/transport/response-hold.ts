import { appearBegun, headersSent } from './begun-appearance.js';
import { HeldCalls, refuseCall } from './held-calls.js';
import { HeldHead, setStatusMessage } from './held-head.js';
import { ignoreLateCalls } from './late-calls.js';
import { removeHeadersOfBody } from './headers-of-body.js';
import type { HeldMethod, NodeResponse, SendingMethods } from './node-response.js';
import { assertHead, assertSendable } from './sending-checks.js';

/** Who decides about a response that is held back. */
export interface HoldListener {
  /** Whether there is work that a response which begins now may speak of. */
  readonly hasWork: boolean;
  /**
   * The response begins.
   *
   * @param status the status that it will have
   * @returns whether it is to be held until `release()` or `drop()` is called
   */
  begins(status: number): boolean;
  /** Whether the code that runs now belongs to the answer that was dropped, rather than to another one. */
  isSender(): boolean;
  /** A part of an answer came after another one had taken its place, and was thrown away. */
  cameLate(): void;
}

type SendingMethod = keyof SendingMethods;

/**
 * `armed`: the response has not begun. `holding`: it has, and nothing of it leaves. `released`: it goes its
 * way. `dropped`: what was held is gone, and another answer may take its place.
 */
type State = 'armed' | 'holding' | 'released' | 'dropped';

const SENDING: readonly SendingMethod[] = ['writeHead', 'flushHeaders', 'write', 'end'];

const SERVER_ERROR = 500;

/**
 * Holds a response back from its first byte on, until it is clear whether it may be sent (W1). While it is
 * held, the response looks begun, and `write()` returns `false`: what a source that heeds back-pressure has
 * written so far is all that is kept in memory.
 */
export class ResponseHold {
  readonly #raw: NodeResponse;
  readonly #listener: HoldListener;
  /** The methods that the response had before. */
  readonly #own: SendingMethods;
  readonly #patches: SendingMethods;
  #state: State = 'armed';
  #calls: HeldCalls | undefined;
  #head: HeldHead | undefined;
  #disappear: (() => void) | undefined;
  #error: Error | undefined;
  #cameLate = false;

  constructor(raw: NodeResponse, listener: HoldListener) {
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
    return this.#calls?.isEnded === true;
  }

  /** Whether the sender waits for a part of what is held to leave. */
  get isAwaited(): boolean {
    return this.#calls?.isAwaited === true;
  }

  get heldBytes(): number {
    return this.#calls?.bytes ?? 0;
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
   * do is ignored: that it comes too late is no fault of its own.
   */
  drop(error: Error): void {
    if (this.#state === 'released' || this.#state === 'dropped') {
      return;
    }
    this.#state = 'dropped';
    this.#error = error;
    this.#disappear?.();
    this.#disappear = undefined;
    const raw = this.#raw;
    if (raw.headersSent) {
      return;
    }
    // What a commit of one of several connections has brought about holds for another answer, too.
    this.#head?.apply();
    // Nothing that is sent from here on is a success, also where it says no status of its own: Nest ends the
    // response of a handler that has taken it over (`reply.hijack()`) as it is.
    raw.statusCode = SERVER_ERROR;
    setStatusMessage(raw, undefined);
    removeHeadersOfBody(raw);
    // After that: this may run in the async context of the sender, whose calls are ignored from here on.
    ignoreLateCalls(raw, () => this.#isLate());
    this.#calls?.refuse(error);
  }

  /** Keeps a call until the response is released. */
  hold(method: HeldMethod, parameters: readonly unknown[]): unknown {
    assertSendable(method, parameters);
    this.#calls?.add(method, parameters);
    if (method === 'writeHead') {
      this.#head!.parameters = parameters;
    }
    return method === 'write' ? false : this.#raw;
  }

  #called(method: SendingMethod, parameters: readonly unknown[]): unknown {
    switch (this.#state) {
      case 'armed':
        return this.#begin(method, parameters);
      case 'holding':
        if (method === 'writeHead') {
          throw headersSent('write headers');
        }
        return this.hold(method, parameters);
      case 'dropped':
        return this.#isLate() ? this.#ignore(method, parameters) : this.#pass(method, parameters);
      case 'released':
        return this.#pass(method, parameters);
    }
  }

  /** Decides about the response with its first byte. */
  #begin(method: SendingMethod, parameters: readonly unknown[]): unknown {
    const raw = this.#raw;
    const head = method === 'writeHead' ? parameters : [raw.statusCode];
    if (this.#listener.hasWork) {
      assertHead(raw, head);
      assertSendable(method, parameters);
    }
    const status = Number(head[0]);
    // What the listener does may send something itself.
    this.#state = 'released';
    if (this.#listener.begins(status)) {
      this.#state = 'holding';
      this.#calls = new HeldCalls();
      this.#disappear = appearBegun(raw, this);
      this.#head = new HeldHead(raw, status);
      return this.hold(method, parameters);
    }
    if (this.#state === 'released') {
      this.#restore();
    }
    return this.#pass(method, parameters);
  }

  #isLate(): boolean {
    return this.#raw.writableEnded || this.#listener.isSender();
  }

  #ignore(method: SendingMethod, parameters: readonly unknown[]): unknown {
    refuseCall(parameters, this.#error!);
    if (!this.#cameLate && this.#calls === undefined) {
      this.#cameLate = true;
      this.#listener.cameLate();
    }
    return method === 'write' ? false : this.#raw;
  }

  #pass(method: SendingMethod, parameters: readonly unknown[]): unknown {
    return Reflect.apply(this.#own[method], this.#raw, parameters);
  }

  #replay(): void {
    const raw = this.#raw;
    const head = this.#head!;
    head.restore();
    const hasRoom = this.#calls!.replay((method, parameters) => {
      switch (method) {
        case 'addTrailers':
        case 'setTrailer':
        case 'destroy':
          return Reflect.apply(raw[method] as () => unknown, raw, parameters);
        case 'writeHead':
          return this.#pass(method, head.without(parameters));
        default:
          return this.#pass(method, parameters);
      }
    });
    if (hasRoom) {
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
