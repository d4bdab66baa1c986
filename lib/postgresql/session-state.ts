import { pendingOf, type PgClient } from './pg-client.js';
import { holdsCursor, remainsOf, setsSession, type Remains } from './session-state-text.js';

/** The events of the connection of `pg` that say what the server has done. */
interface ConnectionEvents {
  on(event: 'commandComplete', listener: (message: { readonly text: string }) => void): unknown;
  on(event: 'errorMessage', listener: () => void): unknown;
  on(
    event: 'parameterStatus',
    listener: (message: {
      readonly parameterName: string;
      readonly parameterValue: string;
    }) => void,
  ): unknown;
  on(event: 'readyForQuery', listener: () => void): unknown;
  off(event: 'readyForQuery', listener: () => void): unknown;
}

/** A parameter that the server reports, since it has been changed. */
interface ReportedParameter {
  /** Its value outside of all changes; `undefined` while that is not known. */
  readonly own: string | undefined;
  readonly now: string;
}

/**
 * What is known of the session of one connection of the server: whether something is left in it that a
 * transaction does not take along as it ends (F7). It is found out by what the server says of itself, for
 * all who use the connection: the tags of commands, and the values of the parameters that it reports. The
 * texts, which tell more, are known of those alone who hand them in.
 *
 * See `CommandComplete` and `ParameterStatus` in
 * https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
export class SessionState {
  #remains: Remains;
  #isUsed = false;
  /** What is being executed; `undefined` where others use the connection. */
  #text: string | undefined;
  /** Whether the last answer was that to the end of a transaction. */
  #hasEnded = false;
  readonly #parameters = new Map<string, ReportedParameter>();
  /** How many messages that set the session up have not been answered. */
  #settingUp = 0;
  readonly #isSetUp: boolean;

  /** @param isSetUp whether the pool has set the session up, which nobody else can repeat */
  constructor(connection: unknown, remains: Remains, isSetUp: boolean) {
    this.#remains = remains;
    this.#isSetUp = isSetUp;
    const events = connection as ConnectionEvents;
    events.on('commandComplete', ({ text }) => {
      if (this.#settingUp === 0) {
        this.#completed(text);
      }
    });
    events.on('errorMessage', () => {
      this.#isUsed = true;
    });
    events.on('parameterStatus', ({ parameterName, parameterValue }) =>
      this.#reported(parameterName, parameterValue),
    );
  }

  /**
   * Looks at a client of a pool from now on. What listeners of the pool's event `connect` have sent by now
   * sets the session up, and so is not left in it by its users.
   */
  static ofNew(client: PgClient, isSetUp: boolean): SessionState {
    const pending = pendingOf(client);
    const state = new SessionState(client.connection, 'nothing', isSetUp || pending > 0);
    if (pending > 0) {
      const events = client.connection as unknown as ConnectionEvents;
      const answered = (): void => {
        state.#settingUp--;
        if (state.#settingUp === 0) {
          events.off('readyForQuery', answered);
          // Not all that is known is forgotten: the first user may have sent a text by now.
          state.#ownParameters();
        }
      };
      state.#settingUp = pending;
      events.on('readyForQuery', answered);
    }
    return state;
  }

  /** Whether DISCARD ALL makes the session as it was at its beginning. */
  get isResettable(): boolean {
    return this.#remains !== 'lasting' && !this.#isSetUp;
  }

  /** What is left. */
  get remains(): Remains {
    if (this.#remains !== 'nothing' || this.#parameters.size === 0) {
      return this.#remains;
    }
    for (const { own, now } of this.#parameters.values()) {
      if (own !== now) {
        return 'changed';
      }
    }
    return 'nothing';
  }

  /** Whether anything was executed since it was clean. */
  get isUsed(): boolean {
    return this.#isUsed;
  }

  /** A text is about to be sent. Locks are left also where it fails, so this does not wait for an answer. */
  sends(sql: string): void {
    this.#text = sql;
    this.#leaves(remainsOf(sql));
  }

  /** As `sends()`, for what does not show its text: in doubt it leaves something. */
  sendsUnknown(): void {
    this.#text = undefined;
    this.#leaves('changed');
  }

  /** The texts that follow are those of others. */
  handedOn(): void {
    this.#text = undefined;
  }

  /** The session is as it is meant to be at its beginning. */
  becomesClean(): void {
    this.#remains = 'nothing';
    this.#isUsed = false;
    this.#ownParameters();
  }

  /** The values of the parameters are those of a session in which nobody has left anything. */
  #ownParameters(): void {
    for (const [name, { now }] of this.#parameters) {
      this.#parameters.set(name, { own: now, now });
    }
  }

  #completed(tag: string): void {
    this.#isUsed = true;
    const space = tag.indexOf(' ');
    const command = space < 0 ? tag : tag.slice(0, space);
    const text = this.#text;
    this.#hasEnded = command === 'COMMIT' || (command === 'ROLLBACK' && text === 'rollback');
    switch (command) {
      case 'LOAD':
        this.#leaves('lasting');
        break;
      // What is undone may have been done as the connection was made, for all who use it.
      case 'DEALLOCATE':
      case 'DISCARD':
      case 'RESET':
      case 'UNLISTEN':
      // Nobody can see what these execute.
      case 'CALL':
      case 'DO':
      case 'LISTEN':
        this.#leaves('changed');
        break;
      case 'PREPARE':
        this.#leaves(tag === 'PREPARE TRANSACTION' ? 'nothing' : 'changed');
        break;
      case 'SET':
        this.#leaves(
          tag === 'SET' && (text === undefined || setsSession(text)) ? 'changed' : 'nothing',
        );
        break;
      case 'DECLARE':
        this.#leaves(text === undefined || holdsCursor(text) ? 'changed' : 'nothing');
        break;
      case 'CREATE':
        // Whether it is temporary is not in the tag.
        this.#leaves(text === undefined ? 'changed' : 'nothing');
        break;
    }
  }

  /**
   * A parameter has another value. One that was set for a transaction gets its own value back with the end
   * of that, which is how the own value becomes known. With a failure it gets a value back as well, but that
   * may be one of a transaction around a savepoint; such a connection is reset, once.
   */
  #reported(name: string, now: string): void {
    const own = this.#parameters.get(name)?.own ?? (this.#hasEnded ? now : undefined);
    this.#parameters.set(name, { own, now });
  }

  #leaves(remains: Remains): void {
    if (remains !== 'nothing' && this.#remains !== 'lasting') {
      this.#remains = remains;
    }
  }
}
