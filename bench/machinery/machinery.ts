import { isOtherOrm, type Candidate } from '../candidates.js';
import { startChild, type Child } from '../http/child.js';
import { quantile, quartilesOf, type Quartiles } from '../report/statistics.js';
import { isFor, type Workload } from '../workloads.js';
import type { Block, BlockFigures, Way } from './blocks.js';

/** How long it is measured. */
export interface BlockPlan {
  /** Of each candidate, in all. */
  readonly blocks: number;
  /** How many processes of a candidate the blocks are split over, where each has processes of its own. */
  readonly batches: number;
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

/** One that takes part; the same object in all batches. */
interface Entrant {
  readonly candidate: Candidate;
  readonly isAgain: boolean;
}

/** Runs a block of requests of one that takes part, in the process that has it. */
type Run = (entrant: Entrant, workload: Workload, requests: number) => Promise<BlockFigures>;

/** What each block took. */
type BlockSeries = ReadonlyMap<Entrant, BlockFigures[]>;

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
  const entrants = [
    ...wanted.map((candidate): Entrant => ({ candidate, isAgain: false })),
    ...BASELINES.map((candidate): Entrant => ({ candidate, isAgain: true })),
  ];
  const batches = plan.isApart ? Math.min(plan.batches, plan.blocks) : 1;
  const batchPlan = { ...plan, blocks: Math.ceil(plan.blocks / batches) };
  const all = workloads.filter(isMachinery).map((workload) => {
    const running = entrants.filter(
      ({ candidate, isAgain }) =>
        isFor(candidate, workload) && (!isAgain || candidate === baselineOf(workload)),
    );
    const series: BlockSeries = new Map(running.map((entrant) => [entrant, []]));
    return { workload, series };
  });
  for (let batch = 0; batch < batches; batch++) {
    await inProcesses(entrants, plan, async (run) => {
      for (const { workload, series } of all) {
        await runBlocks(run, workload, series, batchPlan);
      }
    });
  }
  all.forEach(({ workload, series }) => onEach(figuresOf(workload, series)));
}

/** Starts the processes, and stops them when the blocks have run. */
async function inProcesses(
  entrants: readonly Entrant[],
  { isApart, way }: BlockPlan,
  measure: (run: Run) => Promise<void>,
): Promise<void> {
  const names = entrants.map(({ candidate }) => candidate);
  const groups = isApart ? names.map((name) => [name]) : [names];
  const children = await Promise.all(groups.map((group) => startMachinery(way, group)));
  try {
    await measure(async (entrant, workload, requests) => {
      const index = entrants.indexOf(entrant);
      const block: Block = { entrant: isApart ? 0 : index, workload, requests, isRecorded: false };
      return (await children[isApart ? index : 0]!.ask(block)) as BlockFigures;
    });
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
  run: Run,
  workload: Workload,
  series: BlockSeries,
  { blocks, requests, warmUpRequests }: BlockPlan,
): Promise<void> {
  const entrants = [...series.keys()];
  // In blocks, too: the compiler is to see all candidates before it decides.
  for (let asked = 0; asked < warmUpRequests; asked += requests) {
    for (const entrant of shuffled(entrants)) {
      await run(entrant, workload, requests);
    }
  }
  for (let round = 0; round < blocks; round++) {
    for (const entrant of shuffled(entrants)) {
      series.get(entrant)!.push(await run(entrant, workload, requests));
    }
  }
}

function figuresOf(workload: Workload, series: BlockSeries): MachineryFigures {
  const baseline = baselineOf(workload);
  const isBase = ({ candidate, isAgain }: Entrant): boolean => candidate === baseline && !isAgain;
  const base = series.get([...series.keys()].find(isBase)!)!;
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
