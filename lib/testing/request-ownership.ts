import type { EventEmitter } from 'node:events';

/** The header that says which test a request belongs to. */
export const OWNER_HEADER = 'x-db-context-test';

/** Runs `work` as part of the test with that token, or of none. */
export type RunAs = <T>(token: string | undefined, work: () => T) => T;

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

/**
 * Has each request of a running server, with the events of its body and of its response, handled in the
 * async context of the test that its header names. An upgraded socket belongs to that test as well.
 *
 * A request without the header belongs to no test, also where the test that made the server listen, or that
 * opened the connection, is known: those contexts would outlive their test.
 *
 * @returns a function that undoes this
 */
export function bindRequests(server: EventEmitter, runAs: RunAs): () => void {
  const target: Rebound = server;
  const isOwn = Object.hasOwn(target, 'emit');
  const before = target.emit;
  const emit: Emit = (event, ...args) => {
    const token = REQUESTS.has(event) ? tokenOf(args[0]) : NO_REQUEST;
    if (token === NO_REQUEST) {
      return before.call(server, event, ...args);
    }
    for (const emitter of args.slice(0, 2)) {
      bindEvents(emitter as Rebound, (work) => runAs(token, work));
    }
    return runAs(token, () => before.call(server, event, ...args));
  };
  target.emit = emit;
  return () => {
    if (target.emit !== emit) {
      return;
    }
    if (isOwn) {
      target.emit = before;
    } else {
      delete (target as Partial<Rebound>).emit;
    }
  };
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
