import { ConnectionClosedError, ConnectionFailedError, InvalidOptionsError } from '../errors.js';
import type { PgPool, StandaloneClient } from '../postgresql/pg-client.js';
import { endsConnection, isServerError } from '../postgresql/server-errors.js';
import { poolState } from './pool-state.js';
import type {
  CheckOptions,
  ConnectionHealth,
  HealthError,
  ReplicaHealth,
} from './connection-health.js';
import { healthErrorOf } from './health-error.js';
import type { HostPool } from './host-pool.js';
import { lagOf, writtenLsnOf, type Lag, type WrittenLsn } from './replication-lag.js';
import { askAlone, rowOf } from './standalone-client.js';
import {
  isTimeLimit,
  LONGEST_LIMIT_MS,
  millisecondsSince,
  TIMED_OUT,
  withinLimit,
} from './time-limit.js';

/** The share of its time that a check gives a standby to catch up. */
const PATIENCE = 0.25;

/** The connection that is checked. */
interface CheckedConnection {
  readonly name: string;
  readonly hosts: HostPool;
  readonly replicas: readonly HostPool[];
  readonly isClosed: () => boolean;
  /** How long a check takes at most that is given no `timeoutMs`. */
  readonly defaultTimeoutMs: number;
}

/** When a check began, and how long it may take. */
interface Deadline {
  readonly startedAt: number;
  readonly timeoutMs: number;
}

/** The answer of a server, or why it gave none. */
type Answer<T> =
  | { readonly answer: T; readonly error?: undefined }
  | { readonly answer?: undefined; readonly error: HealthError };

/** What {@link DbConnection.check} does. */
export class ConnectionCheck {
  readonly #connection: CheckedConnection;
  /** The checks under way. A caller that asks for the same check meanwhile shares its result. */
  readonly #running = new Map<string, Promise<ConnectionHealth>>();

  constructor(connection: CheckedConnection) {
    this.#connection = connection;
  }

  /** @throws {@link InvalidOptionsError} `timeoutMs` is not a number of milliseconds */
  async run({
    timeoutMs = this.#connection.defaultTimeoutMs,
    ...unknown
  }: CheckOptions): Promise<ConnectionHealth> {
    const { name, hosts, isClosed } = this.#connection;
    const [key] = Object.keys(unknown);
    if (key !== undefined) {
      throw new InvalidOptionsError(
        `check() of connection "${name}" was given ${key}. Give timeoutMs, or nothing.`,
      );
    }
    if (!isTimeLimit(timeoutMs)) {
      throw new InvalidOptionsError(
        `check() of connection "${name}" was given timeoutMs: ${String(timeoutMs)}. Give a number of ` +
          `milliseconds between 1 and ${LONGEST_LIMIT_MS}.`,
      );
    }
    const { host } = hosts;
    if (isClosed()) {
      // This returns before it asks for the pool, since MikroORM would make a new one.
      const error = healthErrorOf(new ConnectionClosedError(name));
      return { isReachable: false, host, tookMs: 0, error };
    }
    const question = `${timeoutMs} ${host}`;
    let running = this.#running.get(question);
    if (running === undefined) {
      running = this.#check({ startedAt: performance.now(), timeoutMs }).finally(() =>
        this.#running.delete(question),
      );
      this.#running.set(question, running);
    }
    return running;
  }

  async #check(deadline: Deadline): Promise<ConnectionHealth> {
    const { hosts, replicas } = this.#connection;
    const written = Promise.withResolvers<WrittenLsn | undefined>();
    const primary = checkPrimary(
      hosts,
      deadline,
      replicas.length > 0 ? written.resolve : undefined,
    );
    void primary.finally(() => written.resolve(undefined));
    const [health, ...others] = await Promise.all([
      primary,
      ...replicas.map((replica) => checkReplica(replica, deadline, written.promise)),
    ]);
    return others.length > 0 ? { ...health, replicas: others } : health;
  }
}

async function checkPrimary(
  hosts: HostPool,
  deadline: Deadline,
  onWritten: ((lsn: WrittenLsn | undefined) => void) | undefined,
): Promise<ConnectionHealth> {
  const { host } = hosts;
  const { pool, answer, error } = await ask(hosts, deadline, async (client) => {
    const { role } = rowOf(
      await client.query(
        `select case when pg_is_in_recovery() then 'standby' else 'primary' end as role`,
      ),
    );
    if (onWritten !== undefined) {
      // Some services have no such function, which does not make the server unhealthy.
      onWritten(await writtenLsnOf(client).catch(() => undefined));
    }
    return role === 'primary';
  });
  return {
    isReachable: error === undefined,
    host,
    tookMs: elapsedMs(deadline),
    ...(pool !== undefined && { pool: poolState(pool) }),
    ...(error === undefined ? { isPrimary: answer } : { error }),
  };
}

async function checkReplica(
  hosts: HostPool,
  deadline: Deadline,
  written: Promise<WrittenLsn | undefined>,
): Promise<ReplicaHealth> {
  const { host } = hosts;
  const { answer, error } = await ask(hosts, deadline, async (client) => {
    try {
      return await lagOf(client, written, deadline.timeoutMs * PATIENCE);
    } catch (cause) {
      if (!isServerError(cause) || endsConnection(cause)) {
        throw cause;
      }
      const refused: Lag & { readonly error: HealthError } = { error: healthErrorOf(cause) };
      return refused;
    }
  });
  return {
    host,
    isReachable: error === undefined,
    tookMs: elapsedMs(deadline),
    ...(error === undefined ? answer : { error }),
  };
}

/** Asks the server that the pool belongs to now, in the time that is left. */
async function ask<T>(
  hosts: HostPool,
  deadline: Deadline,
  question: (client: StandaloneClient) => Promise<T>,
): Promise<Answer<T> & { readonly pool?: PgPool }> {
  try {
    // This may take time: at its first connect MikroORM runs hooks of the application.
    const pool = await withinLimit(hosts.pool(), deadline.timeoutMs);
    if (pool === TIMED_OUT) {
      return { error: noAnswer(deadline) };
    }
    return { ...(await askServerOf(pool, deadline, question)), pool };
  } catch (error) {
    return { error: healthErrorOf(error instanceof ConnectionFailedError ? error.cause : error) };
  }
}

async function askServerOf<T>(
  pool: PgPool,
  deadline: Deadline,
  question: (client: StandaloneClient) => Promise<T>,
): Promise<Answer<T>> {
  let client: StandaloneClient | undefined;
  try {
    // The options are not copied: their password is not enumerable, so a copy would lose it.
    client = new pool.Client(pool.options);
    const answer = await askAlone(client, deadline.timeoutMs - elapsedMs(deadline), question);
    return answer === TIMED_OUT ? { error: noAnswer(deadline) } : { answer };
  } catch (error) {
    return { error: healthErrorOf(error, client?.password) };
  }
}

function noAnswer({ timeoutMs }: Deadline): HealthError {
  return { message: `no answer within ${timeoutMs} ms`, code: 'ETIMEDOUT' };
}

function elapsedMs({ startedAt }: Deadline): number {
  return millisecondsSince(startedAt);
}
