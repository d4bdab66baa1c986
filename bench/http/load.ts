import { pathOf, type Workload } from '../workloads.js';
import { quantile } from '../report/statistics.js';
import { openClients, type HttpAnswer, type HttpClient } from './client.js';

/** The answers that clients got. */
export interface LoadResult {
  readonly answers: number;
  readonly perSecond: number;
  readonly medianMs: number;
  readonly p99Ms: number;
}

/** When the load ends: after a time, or after a number of answers for each client. */
export type LoadLength = { readonly seconds: number } | { readonly answersEach: number };

/** What has come in so far. */
interface Tally {
  readonly latenciesMs: number[];
  failures: number;
  firstFailure?: string;
}

const STATUS = { GET: 200, POST: 201 } as const;

/** Who asks, and what is done in between. */
export interface LoadOptions {
  /** Number of clients; by default that of the workload. */
  readonly clients?: number;
  /** Runs when all clients are connected, right before the clock starts. */
  readonly onConnected?: () => Promise<void>;
}

/**
 * Lets clients send requests, each client one after another. All are connected before the clock starts. A
 * client asks no more when the time is over; what it has asked by then is awaited, and counts.
 *
 * @throws Error when any answer is not the one that is expected, or is none
 */
export async function load(
  baseUrl: string,
  workload: Workload,
  length: LoadLength,
  { clients = workload.clients, onConnected }: LoadOptions = {},
): Promise<LoadResult> {
  const opened = await openClients(baseUrl, clients);
  try {
    // A connection is made before the server has accepted it; the answer says that it has.
    await Promise.all(opened.map((client) => client.ask('GET', '/nothing')));
    await onConnected?.();
    const tally: Tally = { latenciesMs: [], failures: 0 };
    const startedAt = performance.now();
    const goesOn =
      'seconds' in length
        ? () => performance.now() - startedAt < length.seconds * 1_000
        : (asked: number) => asked < length.answersEach;
    await Promise.all(opened.map((client) => askWhile(client, workload, goesOn, tally)));
    const elapsedMs = performance.now() - startedAt;
    const { latenciesMs, failures, firstFailure } = tally;
    if (failures > 0) {
      const all = latenciesMs.length + failures;
      throw new Error(`${failures} of ${all} answers failed, the first with ${firstFailure}`);
    }
    return {
      answers: latenciesMs.length,
      perSecond: (latenciesMs.length / elapsedMs) * 1_000,
      medianMs: quantile(latenciesMs, 0.5),
      p99Ms: quantile(latenciesMs, 0.99),
    };
  } finally {
    await Promise.all(opened.map((client) => client.close()));
  }
}

async function askWhile(
  client: HttpClient,
  workload: Workload,
  goesOn: (asked: number) => boolean,
  tally: Tally,
): Promise<void> {
  const { method } = workload;
  const path = pathOf(workload);
  for (let asked = 0; asked === 0 || goesOn(asked); asked++) {
    const askedAt = performance.now();
    let answer: HttpAnswer;
    try {
      answer = await client.ask(method, path);
    } catch (error) {
      // The connection is gone, and this client with it.
      fail(tally, String(error));
      return;
    }
    if (answer.status !== STATUS[method] || (asked === 0 && !isAccount(answer.body))) {
      fail(tally, `status ${answer.status}: ${answer.body}`);
    } else {
      tally.latenciesMs.push(performance.now() - askedAt);
    }
  }
}

function fail(tally: Tally, reason: string): void {
  tally.failures += 1;
  tally.firstFailure ??= reason;
}

/** Whether it is what every route of every candidate answers with. */
function isAccount(body: string): boolean {
  const { id, balance, ...rest } = JSON.parse(body) as Record<string, unknown>;
  return typeof id === 'number' && typeof balance === 'number' && Object.keys(rest).length === 0;
}
