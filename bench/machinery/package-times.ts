import { isOtherOrm, type Candidate } from '../candidates.js';
import { hotFunctions, hotPackages } from '../report/profile.js';
import { quantile } from '../report/statistics.js';
import { isFor, type Workload } from '../workloads.js';
import type { Block, BlockFigures, Way } from './blocks.js';
import { isMachinery, startMachinery } from './machinery.js';

/** What the JavaScript of one candidate goes into at one workload, in microseconds of CPU time for each request. */
export interface PackageTimes {
  readonly workload: string;
  readonly candidate: Candidate;
  readonly cpuUs: number;
  /** Of that, the own time of each package; `node` and V8 are among them. */
  readonly byPackage: Readonly<Record<string, number>>;
}

/** How long it is measured. */
export interface PackagePlan {
  /** Processes of each candidate, one after another. */
  readonly rounds: number;
  /** Of each candidate in each round, once with the recorder and once without. */
  readonly requests: number;
  readonly warmUpRequests: number;
  readonly way: Way;
}

/** What one candidate has taken so far, a value for each process that has run it. */
interface Entrant {
  readonly candidate: Candidate;
  readonly cpuUs: number[];
  readonly shares: ReadonlyMap<string, number>[];
}

/**
 * What the JavaScript of a request goes into, by package, on canned answers in place of the wire. Each candidate runs
 * in a process of its own, and in a fresh one in each round: V8 never compiles the same code twice in the same way. What
 * a request takes is measured without the recorder, which takes time itself.
 */
export async function measurePackages(
  candidates: readonly Candidate[],
  workloads: readonly Workload[],
  plan: PackagePlan,
  onEach: (times: PackageTimes) => void,
): Promise<void> {
  // The canned answers know the statements of MikroORM alone.
  const chosen = candidates.filter((candidate) => !isOtherOrm(candidate));
  for (const workload of workloads.filter(isMachinery)) {
    const entrants = chosen
      .filter((candidate) => isFor(candidate, workload))
      .map((candidate): Entrant => ({ candidate, cpuUs: [], shares: [] }));
    for (let round = 0; round < plan.rounds; round++) {
      for (const entrant of entrants) {
        await runAfresh(entrant, workload, plan);
      }
    }
    entrants.forEach((entrant) => onEach(timesOf(entrant, workload)));
  }
}

/** Starts a process for one candidate, warms it up, and measures it. */
async function runAfresh(
  { candidate, cpuUs, shares }: Entrant,
  workload: Workload,
  { requests, warmUpRequests, way }: PackagePlan,
): Promise<void> {
  const child = await startMachinery(way, [candidate]);
  const run = async (count: number, isRecorded: boolean): Promise<BlockFigures> => {
    const block: Block = { entrant: 0, workload, requests: count, isRecorded };
    return (await child.ask(block)) as BlockFigures;
  };
  try {
    await run(warmUpRequests, false);
    cpuUs.push((await run(requests, false)).cpuUs);
    const { profile } = await run(requests, true);
    const packages = hotPackages(hotFunctions(profile!));
    shares.push(new Map(packages.map(({ name, share }) => [name, share])));
  } finally {
    await child.stop();
  }
}

function timesOf({ candidate, cpuUs, shares }: Entrant, { title }: Workload): PackageTimes {
  const eachUs = quantile(cpuUs, 0.5);
  const names = [...new Set(shares.flatMap((each) => [...each.keys()]))];
  const byPackage = names.map((name) => {
    const share = quantile(
      shares.map((each) => each.get(name) ?? 0),
      0.5,
    );
    return [name, share * eachUs] as const;
  });
  return { workload: title, candidate, cpuUs: eachUs, byPackage: Object.fromEntries(byPackage) };
}
