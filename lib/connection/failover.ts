import {
  AcquireTimeoutError,
  ConnectionFailedError,
  NoPrimaryError,
  type HostAnswer,
} from '../errors.js';
import type { PgClient } from '../postgresql/pg-client.js';
import { endsConnection, sqlStateOf } from '../postgresql/server-errors.js';
import { assertDistinctHosts, type ResolvedFailover } from './failover-options.js';
import type { HostPool } from './host-pool.js';
import { askForRole, silence } from './primary-probe.js';
import { formatServer } from './server-address.js';
import { withinLimit } from './time-limit.js';

/** Between two looks while there is no primary, in milliseconds. */
const PAUSE_MS = 100;

/** How long the others are waited for once the host in use has said that it is the primary. */
const GRACE_MS = 100;

/**
 * What a standby answers to a write (25006), and to BEGIN with `read write` or `serializable` (0A000).
 * See https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-USERS
 */
const OF_STANDBY = new Set<unknown>(['25006', '0A000']);

/**
 * The option `failover` of one connection: keeps it on the primary of several hosts.
 *
 * One look at a time, for all who ask; what it found holds for `cacheMs`, or until a sign of trouble
 * is seen on the host in use.
 */
export class Failover {
  readonly #hosts: HostPool;
  readonly #connectionName: string;
  readonly #options: ResolvedFailover;
  /** By the clock of `performance.now()`. */
  #validUntil = 0;
  #pausedUntil = 0;
  #looking: Promise<readonly HostAnswer[] | undefined> | undefined;
  /** Signs of trouble so far; a look during which one was seen may have come too early. */
  #signs = 0;
  /** The highest that a primary had. */
  #timeline = '';
  readonly #watched = new WeakSet<PgClient>();

  /** @throws {@link InvalidOptionsError} hosts that are the same, or a connection that cannot change */
  constructor(hosts: HostPool, connectionName: string, options: ResolvedFailover) {
    this.#hosts = hosts;
    this.#connectionName = connectionName;
    this.#options = options;
    assertDistinctHosts(
      options.hosts.map((host) => hosts.nameOf(host)),
      connectionName,
    );
  }

  /**
   * Sees to it that the connection goes to the primary.
   *
   * @returns `undefined` where it does, as far as is known
   * @throws {@link NoPrimaryError}, {@link ConnectionClosedError}
   */
  ensurePrimary(): Promise<void> | undefined {
    return performance.now() < this.#validUntil ? undefined : this.#join();
  }

  /** Forgets what it knows, so that the next transaction looks again. */
  suspect(): void {
    this.#signs++;
    this.#validUntil = 0;
  }

  /** The connection goes where somebody wants it, be that a primary from before. */
  forgetTimeline(): void {
    this.#timeline = '';
  }

  /** Looks at what becomes of a checkout, and of the client that comes of it. */
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

  /** @param isReadOnly whether the transaction was asked to be */
  onFailure(error: unknown, client: PgClient, isReadOnly: boolean): void {
    if (endsConnection(error) || (OF_STANDBY.has(sqlStateOf(error)) && !isReadOnly)) {
      this.#suspectHostOf(client);
    }
  }

  #suspectHostOf(client: PgClient): void {
    if (formatServer(client).toLowerCase() === this.#hosts.host.toLowerCase()) {
      this.suspect();
    }
  }

  async #join(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    const refusal = await this.#looking;
    if (refusal !== undefined) {
      throw new NoPrimaryError(this.#connectionName, refusal);
    }
  }

  /** @returns what the hosts answered, when none of them is the primary */
  async #look(): Promise<readonly HostAnswer[] | undefined> {
    const pauseMs = this.#pausedUntil - performance.now();
    if (pauseMs > 0) {
      // Rather than an answer from before: whoever asks now is told of a primary that is there now.
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    const signs = this.#signs;
    const answers = await this.#askAll();
    const index = this.#choose(answers);
    if (index === undefined) {
      this.#pausedUntil = performance.now() + PAUSE_MS;
      return answers.map((answer) => this.#explained(answer));
    }
    await this.#hosts.changeTo(this.#options.hosts[index]!);
    this.#timeline = answers[index]!.timeline!;
    if (signs === this.#signs) {
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
      error: silence(GRACE_MS),
    }));
    const questions = hosts.map(async (host, index) => {
      const client = await this.#hosts.newClient(host);
      answers[index] = await askForRole(names[index]!, client, timeoutMs);
    });
    const all = Promise.all(questions);
    await Promise.race([all, questions[inUse] ?? all]);
    if (this.#isPrimary(answers[inUse])) {
      // It stays as it is, so a dead standby need not hold up everybody.
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

  /** A primary behind the one that was in use is an old one that came back. */
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

/** Hexadecimal digits, always as many. */
function compare(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}
