import type { PgPool, StandaloneClient } from '../postgresql/pg-client.js';
import { guardParser } from './guard-parser.js';

type OnConnected = (error: Error | null | undefined, client?: unknown) => void;

/** The class of clients of `pg`, with what of it is changed here. */
type ClientClass = new (options: { readonly stream?: unknown }) => Omit<
  StandaloneClient,
  'connect'
> & {
  connect(onConnected?: OnConnected): Promise<unknown> | undefined;
};

const prepared = new WeakSet<PgPool>();

/**
 * Makes the clients that a pool connects from now on end with their connection where the server does not
 * keep to the protocol, and with their log-in, and remember how they came by their socket. `pg` itself leaves the connection of a client open that gives the log-in up by itself, as
 * when the function for the password fails: the server then waits for the password, for a minute, and
 * the pool does not know of it any more.
 */
export function preparePool(pool: PgPool): void {
  if (prepared.has(pool)) {
    return;
  }
  prepared.add(pool);
  const Client = pool.Client as unknown as ClientClass;
  class PreparedClient extends Client {
    /** See `PgClient`. */
    readonly makeStream: (() => unknown) | undefined;

    constructor(options: { readonly stream?: unknown }) {
      super(options);
      guardParser(this.connection);
      const { stream } = options;
      this.makeStream = stream === undefined ? undefined : () => socketOf(stream, options);
    }

    override connect(onConnected?: OnConnected): Promise<unknown> | undefined {
      if (onConnected === undefined) {
        // It is not in the pool: the code that made it ends it.
        return super.connect();
      }
      return super.connect((error, client) => {
        if (error != null) {
          this.connection.stream.destroy();
        }
        onConnected(error, client);
      });
    }
  }
  (pool as { Client: unknown }).Client = PreparedClient;
}

/** @throws Error the option is one socket, which its client has used up */
function socketOf(stream: unknown, options: object): unknown {
  if (typeof stream !== 'function') {
    throw new Error('the option "stream" of the pool is no function that makes sockets');
  }
  return stream(options);
}
