import { finding } from '../telemetry/channels.js';
import { FindingEvent, type FindingKind } from '../telemetry/finding-event.js';
import type { ConnectionInfo, ContextInfo } from '../telemetry/payloads.js';
import { callers, type Place } from '../telemetry/place.js';

/** Something that the watch has found in a context. */
export interface Found {
  readonly kind: FindingKind;
  /** The rest of a sentence that began with the name of the context. */
  readonly what: string;
  /** The place that the last sentence of it speaks of; `undefined` where it speaks of none. */
  readonly place: Place | undefined;
  readonly connection?: ConnectionInfo | undefined;
  /** The statement that `what` names. */
  readonly sql?: string;
}

/** For how long the same route is not warned of the same thing again, in milliseconds. */
const QUIET_MS = 60_000;

/** Where the watch puts what it finds. */
export class Findings {
  readonly #warn: (message: string) => void;
  readonly #warnedAt = new Map<string, number>();

  constructor(warn: (message: string) => void) {
    this.#warn = warn;
  }

  /** Publishes what was found, and warns of it, but not for every request of the same route. */
  add(context: ContextInfo, { kind, what, place, connection, sql }: Found): void {
    const { origin } = context;
    const message = `The context of ${origin} ${what}`;
    if (finding.hasSubscribers) {
      const stack = (): string => (place === undefined ? '' : callers(place));
      finding.publish(new FindingEvent({ kind, context, connection, message, sql, stack }));
    }
    const key = `${origin}: ${kind}`;
    const now = performance.now();
    const last = this.#warnedAt.get(key);
    if (last === undefined || now - last > QUIET_MS) {
      this.#warnedAt.set(key, now);
      this.#warn(place === undefined ? message : `${message}:\n${callers(place)}`);
    }
  }
}
