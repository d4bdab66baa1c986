import type { StandaloneClient } from '../postgresql/pg-client.js';

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

/**
 * Makes an error of the parser one of the socket, which `pg` hands to the statements under way. By itself
 * `pg` 8.23 throws inside of the listener of the socket when it cannot read a message, which ends the
 * process: a way of authentication that it does not know is enough.
 */
export function guardParser(of: StandaloneClient['connection']): void {
  const connection = of as StandaloneClient['connection'] & GuardableConnection;
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
