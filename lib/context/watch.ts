import type { EntityManager } from '@mikro-orm/core';

import type { EndCause } from '../errors.js';
import { DEFAULTS } from '../options/defaults.js';
import type { WatchOptions } from '../options/watch-options.js';
import type { SessionWatch } from '../session/session-watch.js';
import type { StatementPast } from '../session/statements-past.js';
import { pastTheSession, placeOf, shorten, type Obstacle, type SentStatement } from './obstacle.js';
import { callers, placeHere, showsApplication, type Place } from './place.js';
import { WatchedForks } from './watched-forks.js';

/** When the watch warns. */
type WatchLimits = Required<WatchOptions>;

/** The limits that an option stands for, if it is on. */
export function watchLimits(
  option: boolean | WatchOptions = process.env['NODE_ENV'] !== 'production',
): WatchLimits | undefined {
  return option === false ? undefined : { ...DEFAULTS.watch, ...(option === true ? {} : option) };
}

/** A context, as far as the watch names it. */
interface Watched {
  readonly origin: string;
  /** Its own limit in milliseconds, for which it may be open, and may hold an idle connection. */
  readonly timeoutMs: number | undefined;
  /** Why it was rolled back, where that was not decided by its own code. */
  readonly endCause?: EndCause | undefined;
  readonly isCommitted: boolean;
}

const SHORTEST_SWEEP_MS = 20;
const SWEEPS_PER_LIMIT = 4;
/** For how long the same route is not warned of the same thing again, in milliseconds. */
const QUIET_MS = 60_000;

/**
 * Looks for what works in development and hurts in production: contexts that stay open, connections
 * that are held while nothing is asked of them, use after the end, flushes at the same time, and work
 * that goes past the session.
 */
export class ContextWatch {
  readonly #limits: WatchLimits;
  readonly #warn: (message: string) => void;
  readonly #open = new Map<Watched, WatchedContext>();
  readonly #warnedAt = new Map<string, number>();
  #sweep: NodeJS.Timeout | undefined;

  constructor(limits: WatchLimits, warn: (message: string) => void) {
    this.#limits = limits;
    this.#warn = warn;
  }

  opened(context: Watched): void {
    this.#open.set(context, {
      openedAt: performance.now(),
      place: placeHere(),
      sessions: [],
      forks: new WatchedForks(),
      past: undefined,
    });
    if (this.#sweep === undefined) {
      const { contextOpenMs, idleInTransactionMs } = this.#limits;
      const shortest = Math.min(contextOpenMs, idleInTransactionMs) / SWEEPS_PER_LIMIT;
      this.#sweep = setInterval(() => this.#look(), Math.max(shortest, SHORTEST_SWEEP_MS));
      this.#sweep.unref();
    }
  }

  ended(context: Watched): void {
    if (context.isCommitted) {
      // Who fails has no use for what its forks have prepared.
      this.#open
        .get(context)
        ?.forks.contextHasEnded((what, place) => this.#warnOf(context, 'lost fork', what, place));
    }
    this.#open.delete(context);
    if (this.#open.size === 0) {
      clearInterval(this.#sweep);
      this.#sweep = undefined;
    }
  }

  /** Looks at one session of a context. */
  session(context: Watched, connectionName: string): SessionWatch {
    const idleMs = context.timeoutMs ?? this.#limits.idleInTransactionMs;
    const watch = new WatchedSession(connectionName, idleMs, {
      warn: (kind, what, place) => this.#warnOf(context, kind, what, place),
      endCause: () => context.endCause,
      forked: (fork) => this.forked(context, fork),
    });
    this.#open.get(context)?.sessions.push(watch);
    return watch;
  }

  /** The code of a context has made a fork for work of its own. */
  forked(context: Watched, fork: EntityManager): void {
    this.#open.get(context)?.forks.add(fork, placeHere());
  }

  /**
   * A statement that writes was sent on a connection past its session.
   *
   * @param how whether that is nothing to be warned of in a fork; the manager of MikroORM's own contexts there
   */
  sentPast(
    context: Watched,
    connectionName: string,
    { sql, managerId }: StatementPast,
    {
      isMeant,
      ambient,
    }: { readonly isMeant: boolean; readonly ambient: EntityManager | undefined },
  ): void {
    const sent = placeHere();
    const watched = this.#open.get(context);
    const made = showsApplication(sent) ? undefined : watched?.forks.placeOf(managerId);
    const opened = watched?.forks.placeOfRequestContext(ambient);
    if (watched !== undefined) {
      watched.past = { sql, place: made ?? sent };
    }
    const isWarnedOf = opened !== undefined || (!isMeant && ambient === undefined);
    if (isWarnedOf && !isOfTools(sent)) {
      const what = pastTheSession(connectionName, sql, { opened, made });
      this.#warnOf(context, 'past the session', what, opened ?? made ?? sent);
    }
  }

  /** A context waits for a lock that it holds itself. */
  waitsForItself(context: Watched, { text, wait, isSender }: Obstacle): void {
    const { past, sessions, forks, place } = this.#open.get(context) ?? { sessions: [] };
    const own = isSender ? [past, ...sessions.map(({ last }) => last)] : [];
    const sent = placeOf(wait.sql, own);
    // MikroORM breaks the trace of a flush, for one.
    const isShown = sent !== undefined && showsApplication(sent);
    const what = isShown
      ? 'The statement was sent'
      : forks?.lastPlace === undefined
        ? 'The context was opened'
        : 'Its last fork was made';
    const where = isShown ? sent : (forks?.lastPlace ?? place ?? {});
    this.#warnOf(context, 'waits for itself', `waits ${text}. ${what}`, where);
  }

  /** A context was asked for a session after its end. */
  usedLate(context: Watched, connectionName: string): void {
    this.#warnOf(context, 'late use', lateUseOf(connectionName, context.endCause), placeHere());
  }

  #look(): void {
    const now = performance.now();
    const { contextOpenMs } = this.#limits;
    for (const [context, { openedAt, place, sessions }] of this.#open) {
      if (now - openedAt > (context.timeoutMs ?? contextOpenMs)) {
        this.#warnOf(
          context,
          'open for too long',
          `has been open for more than ${contextOpenMs} ms. It was opened`,
          place,
        );
      }
      sessions.forEach((session) => session.look());
    }
  }

  #warnOf(context: Watched, kind: string, what: string, place: Place): void {
    const { origin } = context;
    const key = `${origin}: ${kind}`;
    const now = performance.now();
    const last = this.#warnedAt.get(key);
    if (last === undefined || now - last > QUIET_MS) {
      this.#warnedAt.set(key, now);
      this.#warn(`The context of ${origin} ${what}:\n${callers(place)}`);
    }
  }
}

interface WatchedContext {
  readonly openedAt: number;
  readonly place: Place;
  readonly sessions: WatchedSession[];
  readonly forks: WatchedForks;
  /** What was sent past its sessions last. */
  past: SentStatement | undefined;
}

interface SessionWatchOwner {
  warn(kind: string, what: string, place: Place): void;
  /** Why the context was rolled back, where that was not decided by its own code. */
  endCause(): EndCause | undefined;
  forked(fork: EntityManager): void;
}

class WatchedSession implements SessionWatch {
  readonly #connectionName: string;
  readonly #limitMs: number;
  readonly #owner: SessionWatchOwner;
  /** The statement that it has sent last. */
  last: SentStatement | undefined;
  #idleSince: number | undefined;
  #flushes = 0;

  constructor(connectionName: string, limitMs: number, owner: SessionWatchOwner) {
    this.#connectionName = connectionName;
    this.#limitMs = limitMs;
    this.#owner = owner;
  }

  sent(sql: string): void {
    this.look();
    this.#idleSince = undefined;
    this.last = { sql, place: placeHere() };
  }

  answered(): void {
    this.#idleSince = performance.now();
  }

  ended(): void {
    this.look();
    this.#idleSince = undefined;
  }

  refused(): void {
    this.#owner.warn(
      'late use',
      lateUseOf(this.#connectionName, this.#owner.endCause()),
      placeHere(),
    );
  }

  forked(fork: EntityManager): void {
    this.#owner.forked(fork);
  }

  flushBegins(): void {
    if (++this.#flushes > 1) {
      this.#owner.warn(
        'flushes at once',
        `flushed its session on connection "${this.#connectionName}" while another flush of it was ` +
          'running, so each may write what the other prepared. Flush once, after Promise.all(). It ' +
          'was flushed again',
        placeHere(),
      );
    }
  }

  flushEnds(): void {
    this.#flushes--;
  }

  look(): void {
    if (this.#idleSince !== undefined && performance.now() - this.#idleSince > this.#limitMs) {
      // Once per pause.
      this.#idleSince = undefined;
      const { sql, place } = this.last!;
      this.#owner.warn(
        'idle in transaction',
        `held a connection of "${this.#connectionName}" for more than ${this.#limitMs} ms without ` +
          'asking anything of it. Commit or close the session before slow work ' +
          '(dbContext.commit(), dbContext.close()), or do that first. ' +
          `Its last statement (${shorten(sql)}) was sent`,
        place,
      );
    }
  }
}

function lateUseOf(connectionName: string, cause: EndCause | undefined): string {
  const advice =
    cause === undefined
      ? 'Await all work of a request, or run it in dbContext.runInNewContext().'
      : 'Let work that may take long stop when its request or its stream ends: the generator of ' +
        'dbContext.stream() gets a signal for that.';
  const because = cause === undefined ? '' : `, because ${cause.what}`;
  return (
    `used its session on connection "${connectionName}" after it had ended${because}, which was refused. ` +
    `${advice} It was used`
  );
}

/** Tools of MikroORM write on the connection by themselves; `orm.schema.execute()` sends what it is given. */
function isOfTools({ stack = '' }: Place): boolean {
  const frames = stack.split('\n').filter((frame) => !/SchemaGenerator\.execute \(/.test(frame));
  return frames.some((frame) =>
    /@mikro-orm[/\\](?:migrations|seeder|sql[/\\]schema)[/\\]/.test(frame),
  );
}
