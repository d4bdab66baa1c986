import type { EntityManager } from '@mikro-orm/core';

import * as channels from '../telemetry/channels.js';
import { shorten } from '../telemetry/finding-event.js';
import { UNMASKED } from '../telemetry/operation-events.js';
import type { ConnectionInfo, ContextEndEvent, ContextInfo } from '../telemetry/payloads.js';
import { NO_PLACE, placeHere, showsApplication, type Place } from '../telemetry/place.js';
import type { ForkEvent, RefusalEvent } from '../telemetry/session-events.js';
import { guarded } from '../telemetry/subscriptions.js';
import type { EventChannel } from '../telemetry/typed-channel.js';
import { subscribeWeakly } from '../telemetry/weak-subscription.js';
import type { StatementPast } from '../session/statements-past.js';
import { Findings, type Found } from './findings.js';
import { pastTheSession, placeOf, type Obstacle, type SentStatement } from './obstacle.js';
import type { WatchLimits } from './watch-limits.js';
import { WatchFailures } from './watch-failures.js';
import { WatchedContext } from './watched-context.js';

const SHORTEST_SWEEP_MS = 20;
const SWEEPS_PER_LIMIT = 4;

/**
 * Looks for what works in development and hurts in production: contexts that stay open, connections
 * that are held while nothing is asked of them, use after the end, flushes at the same time, and work
 * that goes past the session. It sees what the events show.
 */
export class ContextWatch {
  readonly #limits: WatchLimits;
  readonly #findings: Findings;
  readonly #failures: WatchFailures;
  readonly #application: object;
  readonly #open = new Map<ContextInfo, WatchedContext>();
  #sweep: NodeJS.Timeout | undefined;

  /** @param application what events call the application whose contexts it looks at */
  constructor(limits: WatchLimits, warn: (message: string) => void, application: object) {
    this.#limits = limits;
    this.#findings = new Findings(warn);
    this.#failures = new WatchFailures(warn);
    this.#application = application;
  }

  /** Begins to listen. @returns a function that ends it */
  listen(): () => void {
    const { flush, statement } = channels;
    const on = <T>(
      channel: EventChannel<T>,
      handle: (own: ContextWatch, event: T) => void,
    ): (() => void) =>
      subscribeWeakly(channel, this, handle, (own, error) => own.#failures.report(error));
    const stops = [
      on(channels.contextOpen, (own, { context }) => own.#opened(context)),
      on(channels.contextEnd, (own, event) => own.#ended(event)),
      on(channels.sessionRefuse, (own, event) => own.#refused(event)),
      on(channels.sessionFork, (own, event) => own.#forked(event)),
      on(channels.statementRequest, (own, request) =>
        own.#with(request, (watched) =>
          own.#foundIdle(request.context!, watched.requested(request)),
        ),
      ),
      on(statement.start, (own, event) => own.#with(event, (watched) => watched.sent(event))),
      on(statement.asyncEnd, (own, event) =>
        own.#with(event, (watched) => watched.answered(event)),
      ),
      on(channels.transactionEnd, (own, { transaction }) =>
        own.#with(transaction, (watched) =>
          own.#foundIdle(transaction.context!, watched.ended(transaction)),
        ),
      ),
      on(flush.start, (own, { context, connection }) =>
        own.#with({ context }, (watched) => own.#flushBegins(context!, connection, watched)),
      ),
      on(flush.asyncEnd, (own, { context, connection }) =>
        own.#with({ context }, (watched) => watched.flushEnds(connection)),
      ),
    ];
    return () => stops.forEach((stop) => stop());
  }

  /** Those of another application, and those that were opened before, are not known. */
  #with(
    { context }: { readonly context: ContextInfo | undefined },
    use: (watched: WatchedContext) => void,
  ): void {
    const watched = context && this.#open.get(context);
    if (watched !== undefined) {
      use(watched);
    }
  }

  #opened(context: ContextInfo): void {
    if (context.application !== this.#application) {
      return;
    }
    const { contextOpenMs, idleInTransactionMs } = this.#limits;
    this.#open.set(context, new WatchedContext(context.timeoutMs ?? idleInTransactionMs));
    if (this.#sweep === undefined) {
      const shortest = Math.min(contextOpenMs, idleInTransactionMs) / SWEEPS_PER_LIMIT;
      const look = guarded(() => this.#look(), this.#failures.report);
      this.#sweep = setInterval(look, Math.max(shortest, SHORTEST_SWEEP_MS));
      this.#sweep.unref();
    }
  }

  #ended({ context, outcome }: ContextEndEvent): void {
    if (outcome === 'committed') {
      // Who fails has no use for what its forks have prepared.
      this.#open
        .get(context)
        ?.forks.contextHasEnded((what, place) =>
          this.#findings.add(context, { kind: 'lost-fork', what, place }),
        );
    }
    this.#open.delete(context);
    if (this.#open.size === 0) {
      clearInterval(this.#sweep);
      this.#sweep = undefined;
    }
  }

  #forked(event: ForkEvent): void {
    this.#with(event, ({ forks }) => forks.add(event[UNMASKED].manager, placeHere()));
  }

  #flushBegins(context: ContextInfo, connection: ConnectionInfo, watched: WatchedContext): void {
    if (watched.flushBegins(connection)) {
      const what =
        `flushed its session on connection "${connection.name}" while another flush of it was ` +
        'running, so each may write what the other prepared. Flush once, after Promise.all(). It ' +
        'was flushed again';
      this.#findings.add(context, {
        kind: 'concurrent-flush',
        what,
        place: placeHere(),
        connection,
      });
    }
  }

  /**
   * A statement that writes was sent on a connection past its session.
   *
   * @param how whether that is nothing to be warned of in a fork; the manager of MikroORM's own contexts there
   */
  readonly sentPast = guarded(
    (
      context: ContextInfo,
      connection: ConnectionInfo,
      { sql, managerId }: StatementPast,
      {
        isMeant,
        ambient,
      }: { readonly isMeant: boolean; readonly ambient: EntityManager | undefined },
    ): void => {
      const sent = placeHere();
      const watched = this.#open.get(context);
      const made = showsApplication(sent) ? undefined : watched?.forks.placeOf(managerId);
      const opened = watched?.forks.placeOfRequestContext(ambient);
      if (watched !== undefined) {
        watched.past = { sql, place: made ?? sent };
      }
      const isWarnedOf = opened !== undefined || (!isMeant && ambient === undefined);
      if (isWarnedOf && !isOfTools(sent)) {
        const what = pastTheSession(connection.name, sql, { opened, made });
        const place = opened ?? made ?? sent;
        this.#findings.add(context, { kind: 'past-session', what, place, connection, sql });
      }
    },
    (error) => this.#failures.report(error),
  );

  /**
   * A context waits for a lock that it holds itself.
   *
   * @param connection what events call the connection, if it is known
   */
  readonly waitsForItself = guarded(
    (
      context: ContextInfo,
      connection: ConnectionInfo | undefined,
      { text, wait, isSender }: Obstacle,
    ): void => {
      const { past, lastStatements = [], forks, place } = this.#open.get(context) ?? {};
      const sent = placeOf(wait.sql, isSender ? [past, ...lastStatements] : []);
      // MikroORM breaks the trace of a flush, for one.
      const isShown = sent !== undefined && showsApplication(sent);
      const what = isShown
        ? 'The statement was sent'
        : forks?.lastPlace === undefined
          ? 'The context was opened'
          : 'Its last fork was made';
      this.#findings.add(context, {
        kind: 'self-wait',
        what: `waits ${text}. ${what}`,
        place: isShown ? sent : (forks?.lastPlace ?? place ?? NO_PLACE),
        connection,
        sql: wait.sql,
      });
    },
    (error) => this.#failures.report(error),
  );

  #refused({ context, connection, reason }: RefusalEvent): void {
    if (context.application === this.#application) {
      const what = lateUseOf(connection?.name ?? '', reason);
      this.#findings.add(context, { kind: 'late-use', what, place: placeHere(), connection });
    }
  }

  #look(): void {
    const now = performance.now();
    for (const [context, watched] of this.#open) {
      const limitMs = context.timeoutMs ?? this.#limits.contextOpenMs;
      if (now - watched.openedAt > limitMs && !watched.isLong) {
        watched.isLong = true;
        const { what, ...rest } = whereItIs(watched);
        this.#findings.add(context, {
          kind: 'open-too-long',
          what: `has been open for more than ${limitMs} ms${what}`,
          ...rest,
        });
      }
      watched.findIdle().forEach((idle) => this.#foundIdle(context, idle));
    }
  }

  #foundIdle(context: ContextInfo, idle: ReturnType<WatchedContext['ended']>): void {
    if (idle !== undefined) {
      const { connection, last } = idle;
      const { what: sent, place } = whereItWasSent(last);
      const limitMs = context.timeoutMs ?? this.#limits.idleInTransactionMs;
      const what =
        `held a connection of "${connection.name}" for more than ${limitMs} ms without ` +
        'asking anything of it. Commit or close the session before slow work ' +
        `(dbContext.commit(), dbContext.close()), or do that first. ${sent}`;
      const { sql } = last;
      this.#findings.add(context, { kind: 'idle-in-transaction', what, place, connection, sql });
    }
  }
}

/** How the sentence about a context that is open for too long goes on, and the place in the application. */
function whereItIs({
  place,
  lastStatements,
}: WatchedContext): Pick<Found, 'what' | 'place' | 'sql'> {
  if (showsApplication(place)) {
    return { what: '. It was opened', place };
  }
  // The context of a request is opened by the framework, in no code of the application.
  const last =
    lastStatements.findLast((each) => showsApplication(each.place)) ?? lastStatements.at(-1);
  if (last === undefined) {
    return { what: ', and has no transaction now.', place: undefined };
  }
  const { what, ...rest } = whereItWasSent(last);
  return { what: `. ${what}`, ...rest };
}

/** The sentence about the last statement of a transaction, which names no place where no stack leads to it. */
function whereItWasSent({ sql, place }: SentStatement): Pick<Found, 'what' | 'place' | 'sql'> {
  const what = `Its last statement (${shorten(sql)}) was sent`;
  return showsApplication(place)
    ? { what, place, sql }
    : { what: `${what} by code that its stack does not show.`, place: undefined, sql };
}

function lateUseOf(connectionName: string, reason: string | undefined): string {
  const advice =
    reason === undefined
      ? 'Await all work of a request, or run it in dbContext.runInNewContext().'
      : 'Let work that may take long stop when its request or its stream ends: the generator of ' +
        'dbContext.stream() gets a signal for that.';
  const because = reason === undefined ? '' : `, because ${reason}`;
  return (
    `used its session on connection "${connectionName}" after it had ended${because}, which was refused. ` +
    `${advice} It was used`
  );
}

/** Tools of MikroORM write on the connection by themselves; `orm.schema.execute()` sends what it is given. */
function isOfTools({ stack }: Place): boolean {
  const frames = stack.split('\n').filter((frame) => !/SchemaGenerator\.execute \(/.test(frame));
  return frames.some((frame) =>
    /@mikro-orm[/\\](?:migrations|seeder|sql[/\\]schema)[/\\]/.test(frame),
  );
}
