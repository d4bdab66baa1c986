import {
  ADAPTERS,
  OBSERVED,
  SAME_WITHOUT_DATABASE,
  isOtherOrm,
  type Adapter,
  type Candidate,
} from './candidates.js';
import { runBatches } from './http/batches.js';
import { startFleet, type Fleet } from './http/fleet.js';
import type { BenchOptions } from './options.js';
import { compare, type Comparison } from './report/results.js';
import { say } from './report/say.js';
import { isFor, WORKLOADS, type Workload } from './workloads.js';

/** Measures the throughput of the candidates, on a direct connection to the server. */
export async function measureThroughput(
  options: BenchOptions,
  adapter: Adapter,
  databaseUrl: string,
  onEach: (comparison: Comparison) => void,
): Promise<void> {
  const { workloads, rounds } = options;
  const candidates = candidatesOn(adapter, options);
  const isAsked = (candidate: Candidate, workload: Workload): boolean =>
    isFor(candidate, workload) &&
    (options.form !== 'summary' ||
      workload.usesDatabase ||
      !SAME_WITHOUT_DATABASE.includes(candidate));
  const start = (): Promise<Fleet> => startFleet(candidates, adapter, databaseUrl);
  const onBatch = sayBatch(`throughput, ${adapter}`);
  const all = await runBatches({ start, workloads, isAsked, onBatch }, rounds);
  for (const [workload, series] of all) {
    onEach(compare(series, workload, { adapter, roundTripMs: 0, clients: workload.clients }));
  }
}

/** The candidates that are measured on an adapter. */
export function candidatesOn(
  adapter: Adapter,
  { form, adapters, candidates }: Pick<BenchOptions, 'form' | 'adapters' | 'candidates'>,
): readonly Candidate[] {
  if (adapter === adapters[0]) {
    return candidates;
  }
  switch (form) {
    case 'check':
      // A check needs only the library here: the other candidates are the same on both.
      return candidates.slice(0, 1);
    case 'summary':
      // Other ORMs are beside the library to show what MikroORM costs, and that needs one adapter.
      return candidates.filter((candidate) => !isOtherOrm(candidate));
    default:
      return candidates;
  }
}

/** Measures the throughput of one read with OpenTelemetry or Prometheus on, and with nobody listening. */
export async function measureObserved(
  { isCheck, rounds }: BenchOptions,
  databaseUrl: string,
  onEach: (comparison: Comparison) => void,
): Promise<void> {
  const [adapter] = ADAPTERS;
  const oneRead = WORKLOADS.find(({ name }) => name === 'one-read')!;
  const workload = isCheck ? { ...oneRead, clients: 2 } : oneRead;
  const start = (): Promise<Fleet> => startFleet(OBSERVED, adapter, databaseUrl);
  const onBatch = sayBatch('observed');
  const all = await runBatches({ start, workloads: [workload], isAsked: isFor, onBatch }, rounds);
  const { clients } = workload;
  onEach(compare(all.get(workload)!, workload, { adapter, roundTripMs: 0, clients }));
}

/** Says how far a measurement of several minutes is. */
function sayBatch(what: string): (batch: number, batches: number) => void {
  return (batch, batches) => say(`${what}: batch ${batch} of ${batches}`);
}
