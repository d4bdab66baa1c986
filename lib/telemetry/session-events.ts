import type { EntityManager } from '@mikro-orm/core';

import type { ErrorInfo } from './error-info.js';
import { UNMASKED } from './operation-events.js';
import type { ConnectionInfo, ContextInfo } from './payloads.js';
import { TimedEvent } from './timed-event.js';

/**
 * A session, or a statement of it, was asked for after its end, and was refused: by work that was not
 * awaited, for one.
 *
 * @publicApi
 */
export interface RefusalEvent {
  readonly context: ContextInfo;
  readonly connection: ConnectionInfo | undefined;
  /** Why it had ended, where that was not decided by its own code: its client left, its time was over. */
  readonly reason: string | undefined;
  /** What the code gets: `error.code` is `SESSION_CLOSED`. */
  readonly error: ErrorInfo;
}

/** Which session something is about. */
export interface SessionOrigin {
  readonly context: ContextInfo | undefined;
  readonly connection: ConnectionInfo;
}

/**
 * A flush of a session: all events of it are this object.
 *
 * @publicApi
 */
export class FlushEvent extends TimedEvent {
  readonly context: ContextInfo | undefined;
  readonly connection: ConnectionInfo;

  /** @internal */
  constructor({ context, connection }: SessionOrigin) {
    super();
    this.context = context;
    this.connection = connection;
  }
}

/**
 * An entity manager with entities of its own was made of a session: nobody else flushes it.
 *
 * @publicApi
 */
export class ForkEvent {
  readonly context: ContextInfo | undefined;
  readonly connection: ConnectionInfo;
  readonly #manager: EntityManager;

  /** @internal */
  constructor({ context, connection }: SessionOrigin, manager: EntityManager) {
    this.context = context;
    this.connection = connection;
    this.#manager = manager;
  }

  /** What is not shown by default. */
  get [UNMASKED](): { readonly manager: EntityManager } {
    return { manager: this.#manager };
  }
}
