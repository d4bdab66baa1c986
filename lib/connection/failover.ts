import {
  AcquireTimeoutError,
  ConnectionFailedError,
  NoPrimaryError,
  type HostAnswer,
} from '../errors.js';
import type { PgClient } from '../postgresql/pg-client.js';
import { endsConnection, sqlStateOf } from '../postgresql/server-errors.js';
import { assertDistinctHosts } from './failover-hosts.js';
import { failover } from '../telemetry/channels.js';
import { errorInfoOf } from '../telemetry/error-info.js';
import type { ConnectionInfo } from '../telemetry/payloads.js';
import { placeOf, type Holder } from './claim.js';
import type { HostPool } from './host-pool.js';
import { sharedErrorAt } from './placed-errors.js';
import { askForRole, noAnswer } from './primary-probe.js';
import { formatServer, normalizedHost } from './server-address.js';
import { withinLimit } from './time-limit.js';

/** Pause between two searches while there is no primary, in milliseconds. */
const PAUSE_MS = 100;

/**
 * How long the answers of the other hosts are waited for once the host in use has answered that it is the
 * primary, in milliseconds.
 */
const GRACE_MS = 100;

/**
 * The SQLSTATEs with which a standby refuses a write (25006), and BEGIN with `read write` or
 * `serializable` (0A000).
 * See https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-USERS
 */
const REFUSED_BY_STANDBY = new Set<unknown>(['25006', '0A000']);

/** How a connection finds the primary of its hosts. */
export interface FailoverSettings {
  /** Every server that may be the primary, at least two. */
  readonly hosts: readonly string[];
  /** Longest wait for the answer of one host. */
  readonly timeoutMs: number;
  /** How long the answer that a host is the primary holds. */
  readonly cacheMs: number;
}

/**
 * The option `failover` of one connection: keeps it on the primary of several hosts.
 *
 * There is one search at a time, whose result all callers share. It holds for `cacheMs`, or until an error
 * makes the host in use suspect.
 */
export class Failover {
  readonly #hosts: HostPool;
  readonly #connectionName: string;
  readonly #telemetry: ConnectionInfo;
  readonly #options: FailoverSettings;
  /** By the clock of `performance.now()`. */
  #validUntil = 0;
  #pausedUntil = 0;
  #searching: Promise<readonly HostAnswer[] | undefined> | undefined;
  /** How often the host became suspect; if that happens during a search, its result does not hold. */
  #suspicions = 0;
  /** The highest timeline that a primary had. */
  #timeline = '';
  readonly #watched = new WeakSet<PgClient>();

  /** @throws {@link InvalidOptionsError} a host is named twice, or the connection cannot change hosts */
  constructor(hosts: HostPool, telemetry: ConnectionInfo, options: FailoverSettings) {
    const { name: connectionName } = telemetry;
    this.#hosts = hosts;
    this.#telemetry = telemetry;
    this.#connectionName = connectionName;
    this.#options = options;
    assertDistinctHosts(
      options.hosts.map((host) => hosts.nameOf(host)),
      connectionName,
    );
  }

  /**
   * Makes the connection go to the primary.
   *
   * @param holder the unit of work that asks, for the errors that it gets
   * @returns `undefined` where the last search still holds
   * @throws {@link NoPrimaryError}, {@link ConnectionClosedError}
   */
  ensurePrimary(holder: Holder | undefined): Promise<void> | undefined {
    return performance.now() < this.#validUntil ? undefined : this.#join(holder);
  }

  /** Forgets the result of the last search, so that the next transaction searches again. */
  suspect(): void {
    this.#suspicions++;
    this.#validUntil = 0;
  }

  /** Lets the connection go to a primary with an older timeline: `changeHost()` may name one. */
  forgetTimeline(): void {
    this.#timeline = '';
  }

  /** Makes the host suspect if a checkout fails, or if the client that it returns fails later. */
  async watch(checkout: Promise<PgClient>): Promise<PgClient> {
    try {
      const client = await checkout;
      if (!this.#watched.has(client)) {
        this.#watched.add(client);
        client.on('error', () => this.#suspectHostOf(client));
      }
      return client;
    } catch (error) {
      if (error instanceof ConnectionFailedError || error instanceof AcquireTimeoutError) {
        this.suspect();
      }
      throw error;
    }
  }

  /**
   * Makes the host suspect if the error of a statement says that it is shutting down or is a standby.
   *
   * @param isReadOnly whether the transaction was to be read-only
   */
  onFailure(error: unknown, client: PgClient, isReadOnly: boolean): void {
    if (endsConnection(error) || (REFUSED_BY_STANDBY.has(sqlStateOf(error)) && !isReadOnly)) {
      this.#suspectHostOf(client);
    }
  }

  #suspectHostOf(client: PgClient): void {
    const { host, port } = client;
    if (formatServer({ host: normalizedHost(host), port }) === this.#hosts.host) {
      this.suspect();
    }
  }

  async #join(holder: Holder | undefined): Promise<void> {
    this.#searching ??= this.#search().finally(() => {
      this.#searching = undefined;
    });
    const place = placeOf(this.#connectionName, holder);
    let answers: readonly HostAnswer[] | undefined;
    try {
      answers = await this.#searching;
    } catch (error) {
      throw sharedErrorAt(place, error);
    }
    if (answers !== undefined) {
      throw new NoPrimaryError(place, answers);
    }
  }

  /** @returns the answers of the hosts if none of them is the primary, else `undefined` */
  async #search(): Promise<readonly HostAnswer[] | undefined> {
    const pauseMs = this.#pausedUntil - performance.now();
    if (pauseMs > 0) {
      // It waits rather than repeat the last result: a primary may have been promoted since.
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    const suspicions = this.#suspicions;
    const since = performance.now();
    const answers = await this.#askAll();
    const index = this.#choose(answers);
    if (failover.hasSubscribers) {
      failover.publish({
        connection: this.#telemetry,
        primary: index === undefined ? undefined : answers[index]!.host,
        answers: answers.map(({ host, role, error }) => ({
          host,
          role,
          error: error && errorInfoOf(error),
        })),
        durationMs: performance.now() - since,
      });
    }
    if (index === undefined) {
      this.#pausedUntil = performance.now() + PAUSE_MS;
      return answers.map((answer) => this.#explained(answer));
    }
    await this.#hosts.changeTo(this.#options.hosts[index]!);
    this.#timeline = answers[index]!.timeline!;
    if (suspicions === this.#suspicions) {
      this.#validUntil = performance.now() + this.#options.cacheMs;
    }
    return undefined;
  }

  async #askAll(): Promise<HostAnswer[]> {
    const { hosts, timeoutMs } = this.#options;
    const names = hosts.map((host) => this.#hosts.nameOf(host));
    const inUse = names.indexOf(this.#hosts.host);
    const answers = names.map<HostAnswer>((host) => ({
      host,
      role: 'unknown',
      error: noAnswer(GRACE_MS),
    }));
    const questions = hosts.map(async (host, index) => {
      const client = await this.#hosts.newClient(host);
      answers[index] = await askForRole(names[index]!, client, timeoutMs);
    });
    const all = Promise.all(questions);
    await Promise.race([all, questions[inUse] ?? all]);
    if (this.#isPrimary(answers[inUse])) {
      // The host does not change, so a dead standby must not delay every transaction.
      await withinLimit(all, GRACE_MS);
    } else {
      await all;
    }
    return [...answers];
  }

  #choose(answers: readonly HostAnswer[]): number | undefined {
    const primaries = [...answers.entries()].filter(([, answer]) => this.#isPrimary(answer));
    const inUse = this.#hosts.host;
    primaries.sort(
      ([, a], [, b]) =>
        compare(b.timeline!, a.timeline!) || Number(b.host === inUse) - Number(a.host === inUse),
    );
    return primaries[0]?.[0];
  }

  /** A primary with an older timeline than the last one is a former primary that came back. */
  #isPrimary(answer: HostAnswer | undefined): boolean {
    return answer?.role === 'primary' && compare(answer.timeline!, this.#timeline) >= 0;
  }

  #explained(answer: HostAnswer): HostAnswer {
    return answer.role === 'primary'
      ? {
          ...answer,
          error: new Error(
            `a primary of timeline ${answer.timeline}, behind timeline ${this.#timeline}, which this ` +
              'connection was on before',
          ),
        }
      : answer;
  }
}

/** Compares timelines, which have the same number of hexadecimal digits. */
function compare(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}
