import type { Adapter, Candidate } from '../candidates.js';
import { isFailure } from './failure.js';
import type { CandidateFigures, Comparison, Results } from './results.js';
import { table } from './table.js';

/** What the figures of {@link Results} should come to. */
interface Aim {
  readonly title: string;
  /** A limit of throughput is the least, one of latency the most. */
  readonly of: 'throughput' | 'latency';
  readonly workload: string;
  readonly limit: number;
  /** @defaultValue 'library' */
  readonly candidate?: Candidate;
  readonly baseline: Candidate;
}

const READ = 'one read';
const WRITE = 'read, modify, write';
const NONE = 'no database';

const AIMS: readonly Aim[] = [
  {
    title: 'one read over 1 ms: at most 0.75 of the time of `hand-written`',
    of: 'latency',
    workload: READ,
    limit: 0.75,
    baseline: 'hand-written',
  },
  {
    title: '... with `first-write`: at most 0.50',
    of: 'latency',
    workload: READ,
    limit: 0.5,
    candidate: 'first-write',
    baseline: 'hand-written',
  },
  {
    title: 'read, modify, write over 1 ms: at most 0.75 of the time of `hand-written`',
    of: 'latency',
    workload: WRITE,
    limit: 0.75,
    baseline: 'hand-written',
  },
  {
    title: 'one read on one machine: 1.00 of the requests/s of `hand-written`',
    of: 'throughput',
    workload: READ,
    limit: 1,
    baseline: 'hand-written',
  },
  {
    title: '... 1.10 of `nestjs-cls-transactional`',
    of: 'throughput',
    workload: READ,
    limit: 1.1,
    baseline: 'nestjs-cls-transactional',
  },
  {
    title: '... 1.10 of `mikro-orm-nestjs`',
    of: 'throughput',
    workload: READ,
    limit: 1.1,
    baseline: 'mikro-orm-nestjs',
  },
  {
    title: '... with `first-write`: 1.15 of `hand-written`',
    of: 'throughput',
    workload: READ,
    limit: 1.15,
    candidate: 'first-write',
    baseline: 'hand-written',
  },
  {
    title: 'read, modify, write on one machine: 1.00 of `hand-written`',
    of: 'throughput',
    workload: WRITE,
    limit: 1,
    baseline: 'hand-written',
  },
  {
    title: 'no database: 0.97 of `bare-interceptor`',
    of: 'throughput',
    workload: NONE,
    limit: 0.97,
    baseline: 'bare-interceptor',
  },
  {
    title: '... 0.90 of `no-database`',
    of: 'throughput',
    workload: NONE,
    limit: 0.9,
    baseline: 'no-database',
  },
];

/** The aims, what the figures say of each, by adapter where there are several, and whether it is reached. */
export function aimsTable(results: Results): string {
  const rows = AIMS.flatMap((aim) => {
    const comparisons = results[aim.of].filter(({ workload }) => workload === aim.workload);
    const ratios = comparisons.flatMap((comparison) => {
      const ratio = ratioIn(comparison, aim);
      return ratio === undefined ? [] : [{ adapter: comparison.adapter, ratio }];
    });
    return ratios.length === 0 ? [] : [[aim.title, shown(ratios), verdictOn(aim, ratios)]];
  });
  return table(['aim', 'measured', ''], rows);
}

/**
 * What a candidate comes to at a workload, as a multiple of another one: for the library the ratio that the other
 * tables show, for others that of the medians, as the rounds of only the library are compared with theirs.
 */
export function ratioIn(
  { candidates }: Comparison,
  { of, candidate = 'library', baseline }: Pick<Aim, 'of' | 'candidate' | 'baseline'>,
): number | undefined {
  const figuresOf = (name: Candidate): CandidateFigures | undefined => {
    const figures = candidates.find((each) => each.candidate === name);
    return figures === undefined || isFailure(figures) ? undefined : figures;
  };
  const [one, other] = [figuresOf(candidate), figuresOf(baseline)];
  if (one === undefined || other === undefined) {
    return undefined;
  }
  const shownRatio = of === 'throughput' ? other.throughputRatio : other.latencyRatio;
  if (candidate === 'library' && shownRatio !== undefined) {
    return shownRatio.median;
  }
  return of === 'throughput'
    ? one.perSecond.median / other.perSecond.median
    : one.medianMs.median / other.medianMs.median;
}

type Ratios = readonly { readonly adapter: Adapter; readonly ratio: number }[];

function shown(ratios: Ratios): string {
  return ratios
    .map(({ adapter, ratio }) => ratio.toFixed(2) + (ratios.length > 1 ? ` (${adapter})` : ''))
    .join(', ');
}

/** By the figures as they are shown: somebody who reads them has to come to the same. */
function verdictOn({ of, limit }: Aim, ratios: Ratios): string {
  const reached = ratios.filter(({ ratio }) => {
    const rounded = Number(ratio.toFixed(2));
    return of === 'throughput' ? rounded >= limit : rounded <= limit;
  });
  const verdict = reached.length === 0 ? 'missed' : 'in part';
  return reached.length === ratios.length ? 'reached' : verdict;
}
