import type { EndCause, ErrorPlace } from '../errors.js';
import type { EventSource } from '../telemetry/operation-events.js';
import type { ContextInfo } from '../telemetry/payloads.js';
import type { WrittenLsns } from './written-lsns.js';

/** A statement of a unit of work that waits for a lock that the unit of work itself holds. */
export interface SelfWait {
  readonly connectionName: string;
  /** The statement, as the server knows it. */
  readonly sql: string;
  /** The unit of work that has sent it: the one that it concerns, or one inside of it. */
  readonly sender: Holder | undefined;
  readonly isOver: () => boolean;
}

/** A unit of work that holds connections or waits for one, perhaps inside of another unit of work. */
export interface Holder {
  /** The unit of work around this one, which goes on only when this one has ended. */
  readonly outer: Holder | undefined;
  /** The LSNs that the reads of the unit of work must see, where the option `readYourWrites` is set. */
  readonly writtenLsns?: WrittenLsns | undefined;
  /** Its own limit in milliseconds, which takes the place of the limit of its transactions. */
  readonly timeoutMs?: number | undefined;
  /** What it is called in messages. */
  readonly origin?: string | undefined;
  /** Why its code does not go on, where that is known: a sentence or more, for messages. */
  readonly obstacle?: string | undefined;
  /** What has ended it while its code was running, where that is known. */
  readonly endCause?: EndCause | undefined;
  /** What events call it; made where somebody listens. */
  readonly telemetry?: ContextInfo | undefined;
  /** Called with the error of a statement that came after the end, which nobody may await. */
  refused?(error: Error): void;
  /** A transaction of it ends with statements under way, whose errors may be handled by nobody. */
  endsUnfinished?(): void;
  /** Called where a connection of it waits for a lock that another connection of it holds. */
  waitsForItself?(wait: SelfWait): void;
}

/** Where an error of a unit of work has happened. */
export function placeOf(connectionName: string, holder: Holder | undefined): ErrorPlace {
  return { connectionName, origin: holder?.origin };
}

/** What can say where its errors happen; it is asked for each statement, and most have none. */
export interface Placed {
  readonly place: ErrorPlace;
}

/** The claim of one transaction on a connection. */
export interface Claim {
  readonly holder: Holder | undefined;
  /** Whether the connection is at work for a short time, and comes back without another one. */
  readonly isBusy: boolean;
  /** Whether it is code past the sessions that takes the connection, and gives it back by itself. */
  readonly isPast?: boolean;
  /** What events say that the wait for the connection is part of; without it there are none. */
  readonly source?: EventSource | undefined;
  /** Whether a replica may serve the transaction. */
  readonly mayReadReplica?: boolean;
  /** Ends the transaction at once. */
  kill?(reason: Error): void;
  /**
   * Calls `leave`, synchronously, when a connection is of no use any more; soon, where it is of none already.
   *
   * @param leave is given what the code gets to know that waits for the connection
   * @returns a function after which `leave` is not called any more
   */
  whenOver?(leave: (reason: Error) => void): () => void;
}
