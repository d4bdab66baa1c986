import { dbContextChannels } from '../telemetry/index.js';

/** One listener, and how many have asked for it. */
interface Shared {
  users: number;
  readonly stop: () => void;
}

type SharedByTarget = WeakMap<object, Shared>;

/** The channels are those of the process, and so is the list of those that listen: it lies on one of them. */
const LISTENERS: unique symbol = Symbol.for('nestjs-db-context:listeners') as never;

/**
 * Starts a listener that writes to a target (a provider of OpenTelemetry, a registry of Prometheus), once for
 * each target: two that listen would write everything twice, and two applications of a process share the
 * channels. A further call shares the listener of the first, which stops with the last of them.
 *
 * @param kind what is written; one target may have several
 * @returns a function that gives the listener up; a second call of it does nothing
 */
export function shareListener(kind: string, target: object, start: () => () => void): () => void {
  const listeners = listenersOf(kind);
  const shared = listeners.get(target) ?? { users: 0, stop: start() };
  shared.users++;
  listeners.set(target, shared);
  let isUsed = true;
  return () => {
    if (isUsed) {
      isUsed = false;
      shared.users--;
      if (shared.users === 0) {
        listeners.delete(target);
        shared.stop();
      }
    }
  };
}

function listenersOf(kind: string): SharedByTarget {
  const place = dbContextChannels.transactionStart as { [LISTENERS]?: Map<string, SharedByTarget> };
  const kinds = (place[LISTENERS] ??= new Map());
  const known = kinds.get(kind);
  if (known !== undefined) {
    return known;
  }
  const listeners: SharedByTarget = new WeakMap();
  kinds.set(kind, listeners);
  return listeners;
}
