import type { Holder, SelfWait } from '../connection/claim.js';
import { shorten } from '../telemetry/finding-event.js';
import type { Place } from '../telemetry/place.js';

/** Why the code of a context does not go on, as messages say it. */
export interface Obstacle {
  readonly wait: SelfWait;
  /** Whether it is the context itself that waits, and not one inside of it. */
  readonly isSender: boolean;
  /** The rest of a sentence that began with the name of the context. */
  readonly text: string;
}

/** What is to be said of a context that waits for itself. */
export function obstacleOf(context: Holder, wait: SelfWait): Obstacle {
  const { connectionName, sql } = wait;
  return {
    wait,
    isSender: wait.sender === context,
    text:
      `for itself on connection "${connectionName}": a statement (${shorten(sql)}) for a row or another lock ` +
      'that another connection of the same context holds, or of the one around it, whose transaction ends only after the ' +
      'statement. Two connections are at work here: that of the session, and that of a fork, ' +
      '@CreateRequestContext(), em.getConnection(), "requires_new" or a new context. Send both statements ' +
      'through the session, or commit() before the other one is sent',
  };
}

/** What is to be said of a statement that was sent past the session. */
export function pastTheSession(
  connectionName: string,
  sql: string,
  { opened, made }: { readonly opened: Place | undefined; readonly made: Place | undefined },
): string {
  const fate =
    `sent a statement on connection "${connectionName}" past its session: in no transaction of the ` +
    'context, so that it stays when the context is rolled back, and does not see what is not yet ' +
    'committed. ';
  return opened === undefined
    ? `${fate}Send it through the injected session or orm.em, or in dbContext.runInNewContext() ` +
        `where it is to stay. The statement (${shorten(sql)}) was sent` +
        (made === undefined ? '' : ' by a fork that was made')
    : `${fate}The statement (${shorten(sql)}) was sent in a RequestContext of MikroORM that was opened ` +
        'inside of the context, where orm.em and the injected session are an entity manager of its own: ' +
        'leave the RequestContext out. It was opened';
}

/** A statement, and where it was sent. */
export interface SentStatement {
  readonly sql: string;
  readonly place: Place;
}

/**
 * Where a statement was sent that the server knows, with values in place of its placeholders.
 *
 * @param sent the statements that it may be one of
 */
export function placeOf(
  known: string,
  sent: readonly (SentStatement | undefined)[],
): Place | undefined {
  // The first statement of a session is sent behind what begins its transaction.
  const found = sent.find((each) => each && known.includes(each.sql.split(/[?$]/, 1).join('')));
  return found?.place;
}
