import type { EventEmitter } from 'node:events';

import { replaceMethod } from '../connection/replace-method.js';
import { answering } from './request-refusal.js';
import { runOwned, UnknownOwner, type TestOwner } from './test-owner.js';

/** The header that says which test a request belongs to. */
export const OWNER_HEADER = 'x-db-context-test';

/** The tests of one `useTestTransaction()`, of which requests may be. */
export interface RequestBlock {
  /** The test with this token, also where it has ended. */
  ownerOf(token: string): TestOwner | undefined;
}

type Emit = (event: string | symbol, ...args: readonly unknown[]) => boolean;

/** An emitter whose `emit` may be replaced. */
type Rebound = Omit<EventEmitter, 'emit'> & { emit: Emit };

/** The events of an HTTP server that bring a request, and beside it the response or the socket. */
const REQUESTS: ReadonlySet<string | symbol> = new Set([
  'request',
  'checkContinue',
  'checkExpectation',
  'upgrade',
  'connect',
]);

const gates = new WeakMap<EventEmitter, RequestGate>();

/**
 * Has each request of a running server, with the events of its body and of its response, handled in the
 * async context of the test that its header names. An upgraded socket belongs to that test as well.
 *
 * A request without the header belongs to no test, also where the test that made the server listen, or that
 * opened the connection, is known: those contexts would outlive their test. One whose header names a test
 * that has ended belongs to that, for the life of the server, so that it is refused rather than served as an
 * ordinary one (T1). A header of the response says why.
 *
 * @returns a function that ends this, for a block no test of which has begun
 */
export function bindRequests(server: EventEmitter, block: RequestBlock): () => void {
  let gate = gates.get(server);
  if (gate === undefined) {
    gate = new RequestGate(server);
    gates.set(server, gate);
  }
  return gate.add(block);
}

/** Stands in front of the handlers of a server, for all blocks whose tests send requests to it. */
class RequestGate {
  readonly #server: EventEmitter;
  readonly #blocks = new Set<RequestBlock>();
  #undo: (() => void) | undefined;

  constructor(server: EventEmitter) {
    this.#server = server;
  }

  add(block: RequestBlock): () => void {
    this.#blocks.add(block);
    this.#undo ??= this.#tap();
    return () => {
      this.#blocks.delete(block);
      if (this.#blocks.size === 0) {
        this.#undo?.();
        this.#undo = undefined;
      }
    };
  }

  #tap(): () => void {
    const target: Rebound = this.#server;
    return replaceMethod(target, 'emit', (before) => (event, ...args) => {
      const token = REQUESTS.has(event) ? tokenOf(args[0]) : NO_REQUEST;
      if (token === NO_REQUEST) {
        return before.call(target, event, ...args);
      }
      const within = <T>(work: () => T): T => this.#runAs(token, () => answering(args[1], work));
      for (const emitter of args.slice(0, 2)) {
        bindEvents(emitter as Rebound, within);
      }
      return within(() => before.call(target, event, ...args));
    });
  }

  /** Runs `work` as part of the test with that token, and of no test of the other blocks. */
  #runAs<T>(token: string | undefined, work: () => T): T {
    const blocks = [...this.#blocks];
    const found = token && blocks.map((block) => block.ownerOf(token)).find((owner) => owner);
    const ownerIn = (block: RequestBlock): TestOwner | undefined => {
      if (!token) {
        return undefined;
      }
      return found ? (found.block === block ? found : undefined) : new UnknownOwner(block, token);
    };
    return blocks.reduce<() => T>(
      (inner, block) => () => runOwned(block, ownerIn(block), inner),
      work,
    )();
  }
}

const NO_REQUEST = Symbol('no request');

function tokenOf(request: unknown): string | undefined | typeof NO_REQUEST {
  const { headers } = (request ?? {}) as { readonly headers?: Record<string, unknown> };
  if (headers === undefined) {
    return NO_REQUEST;
  }
  const value = headers[OWNER_HEADER];
  return typeof value === 'string' ? value : undefined;
}

/** The parser of the socket emits them, whose async context is that of no request. */
function bindEvents(emitter: Rebound, within: <T>(work: () => T) => T): void {
  const { emit } = emitter;
  emitter.emit = (...event) => within(() => emit.apply(emitter, event));
}
