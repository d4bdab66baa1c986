import type { PgPool, StandaloneClient } from '../postgresql/pg-client.js';

type ClientClass = PgPool['Client'];
type DataListener = (chunk: Buffer) => void;

/** The part of the socket of `pg` that its parser is attached to. */
interface ClientStream {
  listeners(event: 'data'): DataListener[];
  on(event: 'data', listener: DataListener): unknown;
  off(event: 'data', listener: DataListener): unknown;
  destroy(error?: Error): void;
}

/** Internals of `pg`. `test/e2e/pg-surface.spec.ts` fails when an upgrade of `pg` changes them. */
interface GuardableConnection {
  /** Called once for each stream; makes the parser listen to it. */
  attachListeners(stream: ClientStream): void;
}

/** How a pool connects a client. */
type ConnectCallback = (error?: unknown, ...more: unknown[]) => void;

const guardedClasses = new WeakSet<ClientClass>();

/**
 * Makes the pool connect clients that end with their connection where the server does not keep to the
 * protocol (F1). Without it, `pg` 8.23
 *
 * - throws inside of the listener of the socket when it cannot read a message, which ends the process:
 *   a way of authentication that it does not know is enough,
 * - drops a client that could not log in without closing its socket, which the server may then keep.
 *
 * Clients that the pool has connected before stay as they are.
 */
export function guardClientsOf(pool: PgPool): void {
  if (!guardedClasses.has(pool.Client)) {
    const Guarded = guarded(pool.Client);
    guardedClasses.add(Guarded);
    pool.Client = Guarded;
  }
}

function guarded(Client: ClientClass): ClientClass {
  return class extends Client {
    constructor(options: object) {
      super(options);
      guardParser(this.connection as StandaloneClient['connection'] & GuardableConnection);
    }

    override connect(callback?: ConnectCallback): Promise<unknown> {
      if (callback === undefined) {
        return super.connect();
      }
      return super.connect((error: unknown, ...more: unknown[]) => {
        if (error instanceof Error) {
          this.connection.stream.destroy();
        }
        callback(error, ...more);
      });
    }
  };
}

/** Makes an error of the parser one of the socket, which `pg` hands to the statements under way. */
function guardParser(connection: GuardableConnection): void {
  const attach = connection.attachListeners.bind(connection);
  connection.attachListeners = (stream) => {
    const others = stream.listeners('data');
    attach(stream);
    for (const listener of stream.listeners('data').filter((each) => !others.includes(each))) {
      stream.off('data', listener);
      stream.on('data', (chunk) => {
        try {
          listener(chunk);
        } catch (error) {
          stream.destroy(error as Error);
        }
      });
    }
  };
}
