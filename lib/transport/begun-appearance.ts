import { ENDING_METHODS, type HeldMethod, type NodeResponse } from './node-response.js';

/** What is still known of a response whose head is held back. */
export interface HeldState {
  /** Whether `end()` was called. */
  readonly isEnded: boolean;
  /** The bytes of the chunks that are held. */
  readonly heldBytes: number;
  /** Keeps a call until the response is released. */
  hold(method: HeldMethod, parameters: readonly unknown[]): unknown;
}

const HEADER_METHODS = ['setHeader', 'setHeaders', 'appendHeader', 'removeHeader'] as const;

/**
 * Makes a response whose head is held back look as if the head had been sent: `headersSent` is true, and
 * headers can be neither set nor removed (`ERR_HTTP_HEADERS_SENT`), as after a real one. Trailers, and a
 * `destroy()`, wait for their turn.
 *
 * `_header` is what Node's own code and widespread packages (`compression`, `on-headers`) ask on HTTP/1;
 * `test/e2e/nest-surface.spec.ts` fails when Node gives it up. `_send` is what would put it on the wire,
 * where the sender calls `ServerResponse.prototype.end` rather than the method of the response.
 *
 * @returns gives the response its own members back
 */
export function appearBegun(raw: NodeResponse, held: HeldState): () => void {
  const properties: PropertyDescriptorMap = {
    headersSent: { get: () => true },
    writableEnded: { get: () => held.isEnded },
    writableNeedDrain: { get: () => !held.isEnded },
    writableLength: { get: () => held.heldBytes },
  };
  for (const method of HEADER_METHODS) {
    if (method in raw) {
      properties[method] = { value: () => refuseHeader(method) };
    }
  }
  for (const method of ENDING_METHODS) {
    if (method in raw) {
      properties[method] = {
        value: (...parameters: readonly unknown[]) => held.hold(method, parameters),
      };
    }
  }
  if ('_header' in raw) {
    properties['_header'] = { value: 'held back', writable: true };
    properties['_send'] = { value: refuseToSend };
  }
  const names = Object.keys(properties);
  const before = names.map((name) => Object.getOwnPropertyDescriptor(raw, name));
  for (const name of names) {
    Object.defineProperty(raw, name, { ...properties[name], configurable: true });
  }
  return () => {
    names.forEach((name, index) => {
      const own = before[index];
      if (own === undefined) {
        Reflect.deleteProperty(raw, name);
      } else {
        Object.defineProperty(raw, name, own);
      }
    });
  };
}

function refuseHeader(method: string): never {
  throw headersSent(`${method} headers`);
}

function refuseToSend(): never {
  throw headersSent('send around the methods of a response that is held back');
}

/** The error that Node throws where the head of a response has been sent already. */
export function headersSent(what: string): Error {
  return Object.assign(new Error(`Cannot ${what} after they are sent to the client`), {
    code: 'ERR_HTTP_HEADERS_SENT',
  });
}
