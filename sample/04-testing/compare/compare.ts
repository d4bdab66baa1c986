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
 * Runs the same tests in each way. They alternate test by test, and the way that begins changes, so
 * that whatever else the machine does meets all of them alike.
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
    const sums = ways.map(() => 0);
    for (const [number, body] of BODIES.entries()) {
      for (let step = 0; step < ways.length; step++) {
        const index = (round + warmUpRounds + number + step) % ways.length;
        const { totalMs, bodyMs } = await runTest(ways[index]!, body);
        sums[index]! += totalMs;
        if (round >= 0) {
          figures[index]!.totalMs.push(totalMs);
          figures[index]!.aroundMs.push(totalMs - bodyMs);
        }
      }
    }
    if (round >= 0) {
      figures.forEach(({ roundMs }, index) => roundMs.push(sums[index]!));
    }
  }
  return figures;
}

/** @param share 0.5 for the median */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.round((sorted.length - 1) * share)] ?? Number.NaN;
}

/** @returns the time of a test with what is done around it, and of the test alone */
async function runTest(
  way: Way,
  body: (typeof BODIES)[number],
): Promise<{ totalMs: number; bodyMs: number }> {
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
