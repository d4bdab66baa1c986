import type { PgClient } from './pg-client.js';

/** The members of pg's client that only a client that is lent needs. */
export interface LendableClient extends PgClient {
  readonly connection: PgClient['connection'] & {
    /** Emits each error of the server, also those of cursors and copies. */
    on(event: 'errorMessage', listener: (error: unknown) => void): unknown;
    off(event: 'errorMessage', listener: (error: unknown) => void): unknown;
    /** Emits the command tag of each statement. */
    on(event: 'commandComplete', listener: (message: { readonly text: string }) => void): unknown;
    off(event: 'commandComplete', listener: (message: { readonly text: string }) => void): unknown;
  };
  /** `drain`: the server has answered everything. `end`: the connection is over. */
  once(event: 'drain' | 'end', listener: () => void): unknown;
  removeListener(event: string | symbol, listener: (...args: never[]) => void): unknown;
}
