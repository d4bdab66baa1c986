import { AsyncLocalStorage } from 'node:async_hooks';
import { EventEmitter } from 'node:events';

import type { Database } from '../app/orm.js';
import { CannedSession, LOG_IN_ANSWER } from './canned-answers.js';

const QUERY = 'Q'.charCodeAt(0);
const SYNC = 'S'.charCodeAt(0);
const GOODBYE = 'X'.charCodeAt(0);

/**
 * What `pg` takes for its socket. All of `pg` runs, its parser included; neither Node's sockets nor
 * the kernel do.
 *
 * An answer arrives in a turn of the event loop of its own, with `setImmediate()`, as what a socket
 * reads does: the microtasks and ticks of the request have run by then, and the answers to requests
 * that left in the same turn arrive together. It arrives in the async context that the socket was made
 * in, as with a socket of Node, and not in that of the request.
 */
class CannedSocket extends EventEmitter {
  readonly writable = true;
  readonly #session = new CannedSession();
  readonly #inContext = AsyncLocalStorage.snapshot();
  #isLoggedIn = false;
  #pending = '';

  connect(): void {
    setImmediate(() => this.emit('connect'));
  }

  write(bytes: Buffer, written?: () => void): boolean {
    if (written !== undefined) {
      process.nextTick(written);
    }
    const type = bytes[0]!;
    if (!this.#isLoggedIn) {
      this.#isLoggedIn = true;
      this.#arrive(LOG_IN_ANSWER);
    } else if (type !== GOODBYE) {
      this.#pending += bytes.toString('latin1');
      // `pg` writes each message by itself.
      if (type === QUERY || type === SYNC) {
        const request = this.#pending;
        this.#pending = '';
        this.#arrive(this.#session.answer(request));
      }
    }
    return true;
  }

  end(): void {
    setImmediate(() => this.emit('close'));
  }

  destroy(): void {
    this.end();
  }

  // What `pg` and the library say to a socket, and what has no meaning here.
  cork(): void {}
  uncork(): void {}
  ref(): void {}
  unref(): void {}
  setNoDelay(): void {}
  setKeepAlive(): void {}

  #arrive(bytes: Buffer): void {
    this.#inContext(() => setImmediate(() => this.emit('data', bytes)));
  }
}

/** A server without a network. */
export const CANNED_DATABASE: Database = {
  clientUrl: 'postgresql://bench@canned.invalid/bench',
  driverOptions: { stream: () => new CannedSocket() },
};
