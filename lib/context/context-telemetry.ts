import { contextEnd, contextOpen, sessionRefuse } from '../telemetry/channels.js';
import { endedByOf } from '../telemetry/ended-by.js';
import { errorInfoOf } from '../telemetry/error-info.js';
import type { ConnectionInfo, ContextInfo } from '../telemetry/payloads.js';
import { withUnmasked } from '../telemetry/unmasked.js';
import type { EndCause } from '../errors.js';

/** A context, as far as events show it. */
interface Observed {
  readonly origin: string;
  readonly isDetached: boolean;
  readonly timeoutMs: number | undefined;
  readonly outer: { readonly telemetry?: ContextInfo | undefined } | undefined;
}

/** A context that has ended. */
interface Ended {
  readonly telemetry: ContextTelemetry;
  readonly isCommitted: boolean;
  readonly connectionNames: readonly string[];
  readonly endCause: EndCause | undefined;
}

/** What events call a context. */
export class ContextTelemetry implements ContextInfo {
  readonly application: object;
  readonly isDetached: boolean;
  readonly timeoutMs: number | undefined;
  readonly outer: ContextInfo | undefined;
  readonly #context: Observed;
  #openedAt: number | undefined;

  constructor(context: Observed, application: object) {
    this.#context = context;
    this.application = application;
    this.isDetached = context.isDetached;
    this.timeoutMs = context.timeoutMs;
    this.outer = context.outer?.telemetry;
  }

  /** See {@link ContextInfo.origin}; a middleware opens a context before its route is known. */
  get origin(): string {
    return this.#context.origin;
  }

  /** See {@link ContextInfo.openedAt}. */
  get openedAt(): number | undefined {
    return this.#openedAt;
  }

  /** It is open from now on. */
  opens(): void {
    this.#openedAt = performance.now();
  }
}

/** Publishes that a context was opened, where somebody listens to that or to its end (O1). */
export function publishOpened({ telemetry }: { readonly telemetry: ContextTelemetry }): void {
  telemetry.opens();
  contextOpen.publish({ context: telemetry });
}

/** Whether anybody listens to what becomes of contexts (O1). */
export function isContextObserved(): boolean {
  return contextOpen.hasSubscribers || contextEnd.hasSubscribers;
}

/** Publishes that a session was used after its end; called where somebody listens. */
export function publishRefused(
  { telemetry, endCause }: Pick<Ended, 'telemetry' | 'endCause'>,
  connection: ConnectionInfo | undefined,
  error: Error,
): void {
  const reason = endCause?.what;
  sessionRefuse.publish({ context: telemetry, connection, reason, error: errorInfoOf(error) });
}

/** Publishes the end of a context. */
export function publishEnded(
  { telemetry, isCommitted, connectionNames, endCause }: Ended,
  failure: { readonly error: unknown } | undefined,
): void {
  const { openedAt } = telemetry;
  const event = {
    context: telemetry,
    outcome: isCommitted ? ('committed' as const) : ('rolled-back' as const),
    connections: connectionNames,
    durationMs: openedAt === undefined ? undefined : performance.now() - openedAt,
    reason: endCause?.what,
    endedBy: endCause && endedByOf(endCause),
    error: failure && errorInfoOf(failure.error),
  };
  contextEnd.publish(withUnmasked(event, { error: failure?.error }));
}
