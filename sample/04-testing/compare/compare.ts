import { BODIES } from './bodies.js';
import type { Way } from './ways.js';

/** What a way took. */
export interface Figures {
  readonly name: string;
  /** Of all tests, in milliseconds: with what is done before and after each, and that part alone. */
  readonly totalMs: readonly number[];
  readonly aroundMs: readonly number[];
  /** Sum of `totalMs` of each round. */
  readonly roundMs: readonly number[];
}

/**
 * Runs the same tests in each way. The ways take turns, all tests in each turn, and the way that begins
 * changes, so that whatever else the machine does meets all of them alike.
 *
 * The first test of each turn is one more, which does not count: the way before leaves the server's caches
 * cold for it. `TRUNCATE` makes every process of the server forget what it knows of its tables.
 *
 * @param rounds how often each test runs in each way; some more before them do not count
 */
export async function compareWays(
  ways: readonly Way[],
  { rounds, warmUpRounds }: { readonly rounds: number; readonly warmUpRounds: number },
): Promise<readonly Figures[]> {
  const figures = ways.map(({ name }) => ({
    name,
    totalMs: [] as number[],
    aroundMs: [] as number[],
    roundMs: [] as number[],
  }));
  for (let round = -warmUpRounds; round < rounds; round++) {
    for (let step = 0; step < ways.length; step++) {
      const index = (round + warmUpRounds + step) % ways.length;
      const { totalMs, aroundMs, roundMs } = figures[index]!;
      const turn = await runTurn(ways[index]!);
      if (round >= 0) {
        totalMs.push(...turn.map((test) => test.totalMs));
        aroundMs.push(...turn.map((test) => test.totalMs - test.bodyMs));
        roundMs.push(turn.reduce((sum, test) => sum + test.totalMs, 0));
      }
    }
  }
  return figures;
}

/** @param share 0.5 for the median */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.round((sorted.length - 1) * share)] ?? Number.NaN;
}

/** How long a test took with what is done around it, and alone. */
interface TestTime {
  readonly totalMs: number;
  readonly bodyMs: number;
}

async function runTurn(way: Way): Promise<readonly TestTime[]> {
  await runTest(way, BODIES[0]!);
  const times: TestTime[] = [];
  for (const body of BODIES) {
    times.push(await runTest(way, body));
  }
  return times;
}

async function runTest(way: Way, body: (typeof BODIES)[number]): Promise<TestTime> {
  const start = performance.now();
  await way.before();
  const bodyStart = performance.now();
  await body(way);
  const bodyEnd = performance.now();
  await way.after();
  const totalMs = performance.now() - start;
  await way.tidy();
  return { totalMs, bodyMs: bodyEnd - bodyStart };
}
