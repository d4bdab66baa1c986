import type { Answer } from '../connection/lease.js';
import type { DbContextError, ErrorPlace } from '../errors.js';
import type { TransactionInfo } from '../telemetry/payloads.js';
import type { Server } from './server.js';

/** The whole transaction, as its parts see it; see `Transaction` for the members. */
export interface WholeTransaction<Part> {
  readonly connectionName: string;
  readonly place: ErrorPlace;
  /** What events call it; `undefined` where there are none of it. */
  readonly telemetry: TransactionInfo | undefined;
  readonly server: Server;
  readonly savepointTimeoutMs: number;
  /** Whether statements of any part are refused. */
  readonly isShut: boolean;
  /** Resolves when the gate shuts. */
  readonly whenShut: Promise<void>;
  readonly isReadOnly: boolean;
  readonly commitBlocker: DbContextError | undefined;
  readonly failure: { readonly error: unknown } | undefined;
  /** @throws what a statement would be refused with */
  assertOpen(): void;
  limit<T>(work: Promise<T>): Promise<T>;
  cancel(): void;
  kill(reason: Error): void;
  /** Sends a statement of `part`, after all that were sent before. */
  send(part: Part, sql: string, values: readonly unknown[], onSend?: () => void): Promise<Answer>;
  /** @throws what code that has the client itself must not wait for */
  assertNotLent(what: string): void;
  /** Lends the client to code of `part`, as if that were one statement. */
  lendTo<T>(part: Part, callback: (client: object) => T | Promise<T>): Promise<T>;
}
