import { assertFlushesEnd } from '../session/flush-limit.js';
import type { Session } from '../session/session.js';

/**
 * Which session is to be flushed next, for a commit of several: each one, and again those that have got more to write
 * since. What flush hooks and subscribers do is part of the commit, in whatever session (S3, M1).
 */
export class FlushRounds {
  readonly #flushes = new Map<Session, number>();
  /** Flushed before code of the application has run, which may have changed what they manage. */
  #stale = new Set<Session>();
  /** Those that were flushed once more for a change: one that differs after each flush would be so for ever. */
  readonly #rewritten = new Set<Session>();

  /** @throws {@link InvalidOptionsError} there is no end to it */
  next(sessions: readonly Session[]): Session | undefined {
    return sessions.find((session) => this.#isDue(session));
  }

  /** Flushes a session; its caller awaits that before anything else. */
  flush(session: Session): Promise<void> {
    const { callsCode } = session;
    this.#flushes.set(session, (this.#flushes.get(session) ?? 0) + 1);
    const flushed = session.flush();
    if (callsCode) {
      this.codeRan();
    }
    return flushed;
  }

  /** Code of the application has run. */
  codeRan(): void {
    this.#stale = new Set(this.#flushes.keys());
  }

  #isDue(session: Session): boolean {
    const flushes = this.#flushes.get(session) ?? 0;
    if (flushes > 0 && session.isUnfinished) {
      assertFlushesEnd(flushes, session.place);
      return true;
    }
    return flushes === 0 || (this.#stale.delete(session) && this.#isChanged(session));
  }

  #isChanged(session: Session): boolean {
    if (this.#rewritten.has(session) || !session.isChanged) {
      return false;
    }
    this.#rewritten.add(session);
    return true;
  }
}
