import type { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';

const WRITES = new Set<PropertyKey>(['write', 'end', 'destroy']);

type Listener = (...args: unknown[]) => void;

/**
 * The connection of pg, as far as one query object may use it: until it has its answer. After that it
 * writes nothing, as the connection of pg does once its socket is closed.
 */
export class LentWire {
  readonly #connection: EventEmitter;
  /** What the query object gets. */
  readonly connection: object;
  readonly #socket: Duplex;
  readonly #standInSocket: object;
  readonly #untilReady = new Set<Listener>();
  #state: 'in use' | 'answered' | 'cut' = 'in use';

  constructor(connection: object) {
    const { stream } = connection as { readonly stream: Duplex };
    this.#connection = connection as EventEmitter;
    this.#socket = stream;
    this.#standInSocket = new Proxy(stream, { get: (_, key) => this.#getOfSocket(key) });
    this.connection = new Proxy(connection, {
      get: (target, key, receiver) => {
        if (key === 'stream') {
          return this.#standInSocket;
        }
        return key === 'once' ? this.#once : (Reflect.get(target, key, receiver) as unknown);
      },
    });
  }

  /** What a query object gets in place of an argument that pg gives it. */
  readonly standInFor = (argument: unknown): unknown =>
    argument === this.#connection ? this.connection : argument;

  /** @param how `cut`: the server does not get ready any more, for which a cursor would wait */
  end(how: 'answered' | 'cut'): void {
    this.#state = how;
    if (how === 'cut') {
      this.#untilReady.forEach((listener) => this.#callNow(listener));
    }
    this.#untilReady.clear();
  }

  readonly #once = (event: string, listener: Listener): object => {
    if (event !== 'readyForQuery') {
      this.#connection.once(event, listener);
    } else if (this.#state === 'cut') {
      process.nextTick(listener);
    } else {
      this.#untilReady.add(listener);
      this.#connection.once(event, listener);
    }
    return this.connection;
  };

  #callNow(listener: Listener): void {
    if (this.#connection.listeners('readyForQuery').includes(listener)) {
      this.#connection.removeListener('readyForQuery', listener);
      process.nextTick(listener);
    }
  }

  #getOfSocket(key: PropertyKey): unknown {
    const isOver = this.#state !== 'in use';
    if (key === 'writable') {
      return !isOver && this.#socket.writable;
    }
    const value: unknown = Reflect.get(this.#socket, key, this.#socket);
    if (typeof value !== 'function') {
      return value;
    }
    return (...args: unknown[]): unknown =>
      WRITES.has(key) && this.#state !== 'in use'
        ? false
        : (Reflect.apply(value, this.#socket, args) as unknown);
  }
}
