import { isOtherOrm, type Candidate } from '../candidates.js';
import type { Child } from '../http/child.js';
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
  readonly rounds: number;
  /** Of each candidate in each round, once with the recorder and once without. */
  readonly requests: number;
  readonly warmUpRequests: number;
  readonly way: Way;
}

/** One candidate in a process of its own, and what it has taken so far. */
interface Entrant {
  readonly candidate: Candidate;
  readonly child: Child;
  readonly cpuUs: number[];
  readonly shares: ReadonlyMap<string, number>[];
}

/**
 * What the JavaScript of a request goes into, by package, on canned answers in place of the wire. Each candidate runs
 * in a process of its own, and they take turns. What a request takes is measured without the recorder, which takes
 * time itself.
 */
export async function measurePackages(
  candidates: readonly Candidate[],
  workloads: readonly Workload[],
  { rounds, requests, warmUpRequests, way }: PackagePlan,
  onEach: (times: PackageTimes) => void,
): Promise<void> {
  // The canned answers know the statements of MikroORM alone.
  const chosen = candidates.filter((candidate) => !isOtherOrm(candidate));
  for (const workload of workloads.filter(isMachinery)) {
    const entrants = await Promise.all(
      chosen
        .filter((candidate) => isFor(candidate, workload))
        .map(async (candidate): Promise<Entrant> => {
          const child = await startMachinery(way, [candidate]);
          return { candidate, child, cpuUs: [], shares: [] };
        }),
    );
    const run = async (
      { child }: Entrant,
      count: number,
      isRecorded: boolean,
    ): Promise<BlockFigures> => {
      const block: Block = { entrant: 0, workload, requests: count, isRecorded };
      return (await child.ask(block)) as BlockFigures;
    };
    try {
      for (const entrant of entrants) {
        await run(entrant, warmUpRequests, false);
      }
      for (let round = 0; round < rounds; round++) {
        for (const entrant of entrants) {
          entrant.cpuUs.push((await run(entrant, requests, false)).cpuUs);
          const { profile } = await run(entrant, requests, true);
          const packages = hotPackages(hotFunctions(profile!));
          entrant.shares.push(new Map(packages.map(({ name, share }) => [name, share])));
        }
      }
    } finally {
      await Promise.all(entrants.map(({ child }) => child.stop()));
    }
    entrants.forEach((entrant) => onEach(timesOf(entrant, workload)));
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
