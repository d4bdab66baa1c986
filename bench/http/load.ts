import autocannon, { type Result } from 'autocannon';

import { urlOf, type Workload } from '../workloads.js';
import { quantile } from '../report/statistics.js';

/** The answers that clients got. */
export interface LoadResult {
  readonly answers: number;
  readonly perSecond: number;
  readonly medianMs: number;
  readonly p99Ms: number;
}

// autocannon checks at this interval whether its time is over.
const SAMPLE_INTERVAL_MS = 20;
/** A request that takes longer has failed; even the last of a thousand on a busy machine is faster. */
const TIMEOUT_S = 60;

/** When the load ends: after a time, or after a number of answers for each client. */
export type LoadLength = { readonly seconds: number } | { readonly answersEach: number };

/**
 * Lets clients send requests, each client one after another.
 *
 * @param clients by default those of the workload
 * @throws Error when any answer is not a success
 */
export async function load(
  baseUrl: string,
  workload: Workload,
  length: LoadLength,
  clients: number = workload.clients,
): Promise<LoadResult> {
  const latencies: number[] = [];
  let firstAt = 0;
  let lastAt = 0;
  const { promise: over, resolve, reject } = Promise.withResolvers<Result>();
  const run = autocannon(
    {
      url: urlOf(baseUrl, workload),
      method: workload.method,
      connections: clients,
      ...('seconds' in length
        ? { duration: length.seconds }
        : { amount: clients * length.answersEach }),
      timeout: TIMEOUT_S,
      sampleInt: SAMPLE_INTERVAL_MS,
    },
    (error: unknown, result) => (error ? reject(error) : resolve(result)),
  );
  run.on('response', (_client, _status, _bytes, latencyMs) => {
    lastAt = performance.now();
    firstAt ||= lastAt;
    latencies.push(latencyMs);
  });
  const { non2xx, errors } = await over;
  if (non2xx > 0 || errors > 0 || latencies.length < 2) {
    throw new Error(
      `${workload.name}: ${latencies.length} answers, of which ${non2xx} no success; ${errors} errors`,
    );
  }
  return {
    answers: latencies.length,
    // From the first answer to the last: connecting and the end of the run do not count.
    perSecond: ((latencies.length - 1) / (lastAt - firstAt)) * 1_000,
    medianMs: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
  };
}
