import type { Holder } from '../connection/claim.js';
import type { OnSend, PgClient, PgResult } from '../postgresql/pg-client.js';
import type { Asked, QueryAnswer } from './asked.js';
import type { RealClientErrors } from './real-client-errors.js';
import type { Layer } from './test-layer.js';

/** A client that stands for the real one, and whose transaction is a savepoint. */
export interface SharedParty {
  /** The unit of work that it was taken for. */
  readonly holder: Holder | undefined;
  /** What its work belongs to. */
  readonly layer: Layer;
}

/** The text that follows BEGIN in the same message. */
export interface FirstText {
  readonly asked: Asked;
  readonly isReadOnly: boolean;
}

/** The real transaction on one real client whose savepoints are the transactions of shared clients. */
export interface SharedConnection {
  /** The client that sends the statements of all shared clients. */
  readonly realClient: PgClient;
  /** The errors of that client, with the listeners of all shared clients. */
  readonly errors: RealClientErrors;
  /** What a client that is made now belongs to. */
  readonly layer: Layer;

  /** Whether the savepoint of a client is open. */
  isOpen(client: SharedParty): boolean;

  /** Begins the savepoint of a client. */
  open(client: SharedParty, isReadOnly: boolean): Promise<void>;

  /** Begins the savepoint of a client, and sends what it begins for in the same message. */
  openWith(client: SharedParty, first: FirstText): Promise<QueryAnswer>;

  /** Sends a read that is all of its transaction. Where it fails, the savepoint stays open. */
  readWhole(client: SharedParty, first: FirstText): Promise<QueryAnswer>;

  /** Sends a statement inside the savepoint of a client. */
  send(client: SharedParty, asked: Asked): Promise<QueryAnswer>;

  /** Gives the real client to the user of a client whose savepoint is open. */
  lend<T>(
    client: SharedParty,
    use: (realClient: PgClient, onSend: OnSend) => Promise<T>,
  ): Promise<T>;

  /** Sends a statement of a client that has no savepoint open. */
  sendAlone(client: SharedParty, asked: Asked): Promise<QueryAnswer>;

  /**
   * @param questions statements whose answers are wanted before
   * @returns those answers; `undefined` if it was rolled back rather than committed, as PostgreSQL does it
   */
  commit(client: SharedParty, questions: readonly string[]): Promise<PgResult[] | undefined>;

  rollBack(client: SharedParty): Promise<void>;

  /** Rolls the savepoint of a destroyed client back at once, with all savepoints inside of it. */
  abandon(client: SharedParty): Promise<void>;

  /** An error that says what a shared transaction cannot show. */
  refusal(reason: string): Error;
}
