import { startChild } from '../../http/child.js';
import { quantile } from '../../report/statistics.js';
import type { Figures, Side, Subject } from '../curve.js';
import { HttpClient, type Answer } from './http-client.js';

const WORKLOAD = 'one-read';
/** Sockets that are opened at the same time; the backlog of the server has to hold them. */
const OPENED_AT_ONCE = 500;

/** One side behind Fastify in a process of its own, asked by clients of this one. */
export async function openHttp(side: Side, databaseUrl: string): Promise<Subject> {
  const file = new URL('../../app/server.js', import.meta.url);
  const child = await startChild(file, [side, 'fastify', databaseUrl]);
  const url = new URL(`/${WORKLOAD}`, (child.hello as { readonly url: string }).url);
  const cpuTimeUs = async (): Promise<number> =>
    ((await child.ask('cpu-time')) as { readonly cpuTimeUs: number }).cpuTimeUs;
  return {
    measure: async ([clients = 0], requestsEach) => {
      const opened = await openClients(url, clients);
      try {
        const startedUs = await cpuTimeUs();
        const load = await askAll(opened, requestsEach);
        const cpuUs = (await cpuTimeUs()) - startedUs;
        return [{ ...load, cpuUs: cpuUs / (clients * requestsEach) }];
      } finally {
        opened.forEach((client) => client.close());
      }
    },
    stop: () => child.stop(),
  };
}

async function openClients(url: URL, count: number): Promise<readonly HttpClient[]> {
  const opened: HttpClient[] = [];
  while (opened.length < count) {
    const wanted = Math.min(OPENED_AT_ONCE, count - opened.length);
    opened.push(...(await Promise.all(Array.from({ length: wanted }, () => HttpClient.open(url)))));
  }
  return opened;
}

/** Lets all clients ask, each one after another. */
async function askAll(clients: readonly HttpClient[], requestsEach: number): Promise<Figures> {
  const answers: Answer[] = [];
  const startedMs = performance.now();
  await Promise.all(
    clients.map(async (client) => {
      for (let request = 0; request < requestsEach; request++) {
        answers.push(await client.ask());
      }
    }),
  );
  const tookMs = performance.now() - startedMs;
  // A refusal, such as 503, is no answer; how many there were is a figure, and does not end the run.
  const successes = answers.filter(({ status }) => status < 300);
  const latencies = successes.map(({ latencyMs }) => latencyMs);
  return {
    perSecond: (successes.length / tookMs) * 1_000,
    medianMs: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
    failed: answers.length - successes.length,
  };
}
