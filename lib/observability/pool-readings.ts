import type { ConnectionInfo } from '../telemetry/index.js';
import { POOL, STATE, type GaugeName, type Labels, type Reading } from './metrics.js';

/** So many series of closed pools are written as 0 each time; that of others was a 0 when it was read last. */
const MOST_CLOSED_SERIES = 1_000;

/** The pools of the connections that an event has named; they are read as they are asked for. */
export class PoolReadings {
  /** Weak: an application may be gone without having closed its connections. */
  readonly #connections = new Set<WeakRef<ConnectionInfo>>();
  readonly #known = new WeakSet<ConnectionInfo>();
  /** The series that were ever written: for those who have to write a 0 once one is not read any more. */
  readonly series = new Map<string, readonly [GaugeName, Labels]>();

  /** @returns whether it was not known before; one that is closed stays known, and is not read any more */
  know(connection: ConnectionInfo): boolean {
    const isNew = !this.#known.has(connection);
    if (isNew) {
      this.#known.add(connection);
      this.#connections.add(new WeakRef(connection));
    }
    return isNew;
  }

  /** @param closed the keys of the series that are not read any more, the oldest first */
  forgetOldest(closed: readonly string[]): void {
    closed.slice(0, -MOST_CLOSED_SERIES).forEach((key) => this.series.delete(key));
  }

  /** A connection is closed: its pools hold nothing. */
  forget(closed: ConnectionInfo): void {
    for (const reference of this.#connections) {
      if (reference.deref() === closed) {
        this.#connections.delete(reference);
      }
    }
  }

  /** The names of the connections that are not closed. */
  get names(): readonly string[] {
    return [...this.#connections].flatMap((reference) => reference.deref()?.name ?? []);
  }

  /** A gauge now: connections of the same name, of several applications, are added up. */
  read(name: GaugeName): readonly Reading[] {
    const sums = new Map<string, { -readonly [Key in keyof Reading]: Reading[Key] }>();
    for (const { labels, value } of this.#each(name)) {
      const key = `${labels[STATE] ?? ''} ${labels[POOL]}`;
      const sum = sums.get(key);
      if (sum === undefined) {
        sums.set(key, { labels, value });
      } else {
        sum.value += value;
      }
    }
    return [...sums.values()];
  }

  *#each(name: GaugeName): Iterable<Reading> {
    for (const reference of this.#connections) {
      const connection = reference.deref();
      if (connection === undefined) {
        this.#connections.delete(reference);
      } else {
        yield* readingsOf(name, connection);
      }
    }
  }
}

function readingsOf(name: GaugeName, connection: ConnectionInfo): readonly Reading[] {
  const { pool } = connection;
  if (pool === undefined) {
    return [];
  }
  const labels = { [POOL]: connection.name };
  switch (name) {
    case 'db.client.connection.count':
      return [
        { labels: { ...labels, [STATE]: 'used' }, value: pool.checkedOut },
        { labels: { ...labels, [STATE]: 'idle' }, value: pool.idle },
      ];
    case 'db.client.connection.max':
    case 'db.client.connection.limit':
      return [{ labels, value: pool.size }];
    case 'db.client.connection.pending_requests':
      return [{ labels, value: pool.waiting }];
    default:
      return [];
  }
}
