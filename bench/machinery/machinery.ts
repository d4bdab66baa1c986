import { isOtherOrm, type Candidate } from '../candidates.js';
import { startChild, type Child } from '../http/child.js';
import { quantile, quartilesOf, type Quartiles } from '../report/statistics.js';
import { isFor, type Workload } from '../workloads.js';
import type { Block, BlockFigures, Way } from './blocks.js';

/** How long it is measured. */
export interface BlockPlan {
  /** Of each candidate. */
  readonly blocks: number;
  readonly requests: number;
  /** Before the first block, for each candidate. */
  readonly warmUpRequests: number;
  readonly way: Way;
  /**
   * A process for each candidate, where V8 compiles for it alone and the garbage is its own; else all
   * run in one.
   */
  readonly isApart: boolean;
}

/** What each request of one candidate took. */
interface MachineryRow {
  readonly candidate: Candidate;
  /** Whether it is the baseline once more: how far a ratio of 1 is off. */
  readonly isAgain: boolean;
  readonly cpuUs: Quartiles;
  readonly wallUs: Quartiles;
  /** CPU time as a multiple of the baseline's in the same round. */
  readonly ratio: Quartiles;
  /**
   * All CPU time as a multiple of all of the baseline's. A block that the garbage collector meets is
   * rare, and no median shows it.
   */
  readonly totalRatio: number;
  /** CPU time of the least disturbed tenth of the blocks. */
  readonly leastUs: number;
  /** That as a multiple of the baseline's. */
  readonly leastRatio: number;
}

/** JavaScript alone: all candidates at one workload. */
export interface MachineryFigures {
  readonly workload: string;
  readonly baseline: Candidate;
  readonly rows: readonly MachineryRow[];
}

/** One candidate in the process that runs it. */
interface Entrant {
  readonly candidate: Candidate;
  readonly isAgain: boolean;
  readonly place: number;
  readonly child: Child;
}

const baselineOf = ({ usesDatabase }: Workload): Candidate =>
  usesDatabase ? 'hand-intercepted' : 'bare-interceptor';
const BASELINES: readonly Candidate[] = ['hand-intercepted', 'bare-interceptor'];

/** The workloads of {@link measureMachinery}: what waits does not run. */
const MEASURED = ['nothing', 'one-read', 'read-modify-write'];

/** Whether a workload runs on canned answers, and says something there. */
export function isMachinery({ name }: Workload): boolean {
  return MEASURED.includes(name);
}

/**
 * What the JavaScript of a request takes, on canned answers in place of the wire, and without
 * sockets. The candidates take turns in small blocks, in another order in each round.
 */
export async function measureMachinery(
  candidates: readonly Candidate[],
  workloads: readonly Workload[],
  plan: BlockPlan,
  onEach: (figures: MachineryFigures) => void,
): Promise<void> {
  // The canned answers know the statements of MikroORM alone.
  const onMikroOrm = candidates.filter((candidate) => !isOtherOrm(candidate));
  const wanted = [...new Set([...onMikroOrm, ...BASELINES])];
  const names = [...wanted, ...BASELINES];
  const { isApart, way } = plan;
  const groups = isApart ? names.map((name) => [name]) : [names];
  const children = await Promise.all(groups.map((group) => startMachinery(way, group)));
  try {
    const entrants = names.map((candidate, index): Entrant => ({
      candidate,
      isAgain: index >= wanted.length,
      place: isApart ? 0 : index,
      child: children[isApart ? index : 0]!,
    }));
    for (const workload of workloads.filter(isMachinery)) {
      const baseline = baselineOf(workload);
      const running = entrants.filter(
        ({ candidate, isAgain }) =>
          isFor(candidate, workload) && (!isAgain || candidate === baseline),
      );
      onEach(await runBlocks(running, workload, plan));
    }
  } finally {
    await Promise.all(children.map((child) => child.stop()));
  }
}

/** A process with these candidates, without a network. */
export function startMachinery(way: Way, candidates: readonly Candidate[]): Promise<Child> {
  const file = new URL('machinery.server.js', import.meta.url);
  return startChild(file, [way, ...candidates]);
}

async function runBlocks(
  entrants: readonly Entrant[],
  workload: Workload,
  { blocks, requests, warmUpRequests }: BlockPlan,
): Promise<MachineryFigures> {
  const run = async ({ child, place }: Entrant, count: number): Promise<BlockFigures> => {
    const block: Block = { entrant: place, workload, requests: count, isRecorded: false };
    return (await child.ask(block)) as BlockFigures;
  };
  // In blocks, too: the compiler is to see all candidates before it decides.
  for (let asked = 0; asked < warmUpRequests; asked += requests) {
    for (const entrant of shuffled(entrants)) {
      await run(entrant, requests);
    }
  }
  const series = new Map(entrants.map((entrant) => [entrant, [] as BlockFigures[]]));
  for (let round = 0; round < blocks; round++) {
    for (const entrant of shuffled(entrants)) {
      series.get(entrant)!.push(await run(entrant, requests));
    }
  }
  const baseline = baselineOf(workload);
  const base = series.get(
    entrants.find(({ candidate, isAgain }) => candidate === baseline && !isAgain)!,
  )!;
  const rows = [...series].map(([{ candidate, isAgain }, figures]): MachineryRow => ({
    candidate,
    isAgain,
    cpuUs: quartilesOf(figures.map(({ cpuUs }) => cpuUs)),
    wallUs: quartilesOf(figures.map(({ wallUs }) => wallUs)),
    totalRatio: totalOf(figures) / totalOf(base),
    leastUs: leastOf(figures),
    leastRatio: leastOf(figures) / leastOf(base),
    ratio: quartilesOf(figures.map(({ cpuUs }, round) => cpuUs / base[round]!.cpuUs)),
  }));
  return { workload: workload.title, baseline, rows };
}

function totalOf(figures: readonly BlockFigures[]): number {
  return figures.reduce((total, { cpuUs }) => total + cpuUs, 0);
}

function leastOf(figures: readonly BlockFigures[]): number {
  return quantile(
    figures.map(({ cpuUs }) => cpuUs),
    0.1,
  );
}

function shuffled<T>(values: readonly T[]): T[] {
  const keyed = values.map((value) => ({ value, key: Math.random() }));
  return keyed.toSorted((a, b) => a.key - b.key).map(({ value }) => value);
}
