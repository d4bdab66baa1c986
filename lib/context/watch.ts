import type { EntityManager } from '@mikro-orm/core';

import type { EndCause } from '../errors.js';
import { DEFAULTS } from '../options/defaults.js';
import type { WatchOptions } from '../options/watch-options.js';
import type { SessionWatch } from '../session/session-watch.js';
import type { StatementPast } from '../session/statements-past.js';
import { shorten } from '../telemetry/finding-event.js';
import type { ConnectionInfo, ContextInfo } from '../telemetry/payloads.js';
import { Findings, type Found } from './findings.js';
import { pastTheSession, placeOf, type Obstacle, type SentStatement } from './obstacle.js';
import { placeHere, showsApplication, type Place } from './place.js';
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
  readonly telemetry: ContextInfo;
}

const SHORTEST_SWEEP_MS = 20;
const SWEEPS_PER_LIMIT = 4;

/**
 * Looks for what works in development and hurts in production: contexts that stay open, connections
 * that are held while nothing is asked of them, use after the end, flushes at the same time, and work
 * that goes past the session.
 */
export class ContextWatch {
  readonly #limits: WatchLimits;
  readonly #findings: Findings;
  readonly #connectionOf: (name: string) => ConnectionInfo | undefined;
  readonly #open = new Map<Watched, WatchedContext>();
  #sweep: NodeJS.Timeout | undefined;

  /** @param connectionOf what events call a connection */
  constructor(
    limits: WatchLimits,
    warn: (message: string) => void,
    connectionOf: (name: string) => ConnectionInfo | undefined,
  ) {
    this.#limits = limits;
    this.#findings = new Findings(warn);
    this.#connectionOf = connectionOf;
  }

  opened(context: Watched): void {
    this.#open.set(context, {
      openedAt: performance.now(),
      place: placeHere(),
      sessions: [],
      forks: new WatchedForks(),
      past: undefined,
      isLong: false,
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
        ?.forks.contextHasEnded((what, place) =>
          this.#found(context, { kind: 'lost-fork', what, place }),
        );
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
      found: (found) => this.#found(context, { ...found, connectionName }),
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
      const place = opened ?? made ?? sent;
      this.#found(context, { kind: 'past-session', what, place, connectionName, sql });
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
    this.#found(context, {
      kind: 'self-wait',
      what: `waits ${text}. ${what}`,
      place: where,
      connectionName: wait.connectionName,
      sql: wait.sql,
    });
  }

  /** A context was asked for a session after its end. */
  usedLate(context: Watched, connectionName: string): void {
    const what = lateUseOf(connectionName, context.endCause);
    this.#found(context, { kind: 'late-use', what, place: placeHere(), connectionName });
  }

  #look(): void {
    const now = performance.now();
    const { contextOpenMs } = this.#limits;
    for (const [context, watched] of this.#open) {
      const { openedAt, place, sessions } = watched;
      const limitMs = context.timeoutMs ?? contextOpenMs;
      if (now - openedAt > limitMs && !watched.isLong) {
        watched.isLong = true;
        const what = `has been open for more than ${limitMs} ms. It was opened`;
        this.#found(context, { kind: 'open-too-long', what, place });
      }
      sessions.forEach((session) => session.look());
    }
  }

  #found(context: Watched, found: Found & { readonly connectionName?: string }): void {
    const { connectionName } = found;
    const connection =
      connectionName === undefined ? undefined : this.#connectionOf(connectionName);
    this.#findings.add(context.telemetry, { ...found, connection });
  }
}

interface WatchedContext {
  readonly openedAt: number;
  readonly place: Place;
  readonly sessions: WatchedSession[];
  readonly forks: WatchedForks;
  /** What was sent past its sessions last. */
  past: SentStatement | undefined;
  /** Whether it was found to be open for too long. */
  isLong: boolean;
}

interface SessionWatchOwner {
  found(found: Found): void;
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
    const what = lateUseOf(this.#connectionName, this.#owner.endCause());
    this.#owner.found({ kind: 'late-use', what, place: placeHere() });
  }

  forked(fork: EntityManager): void {
    this.#owner.forked(fork);
  }

  flushBegins(): void {
    if (++this.#flushes > 1) {
      this.#owner.found({
        kind: 'concurrent-flush',
        what:
          `flushed its session on connection "${this.#connectionName}" while another flush of it was ` +
          'running, so each may write what the other prepared. Flush once, after Promise.all(). It ' +
          'was flushed again',
        place: placeHere(),
      });
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
      this.#owner.found({
        kind: 'idle-in-transaction',
        what:
          `held a connection of "${this.#connectionName}" for more than ${this.#limitMs} ms without ` +
          'asking anything of it. Commit or close the session before slow work ' +
          '(dbContext.commit(), dbContext.close()), or do that first. ' +
          `Its last statement (${shorten(sql)}) was sent`,
        place,
        sql,
      });
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
