import { DIFFERENCES, type Reason } from './differences.js';
import { SEPARATOR, type Results } from './results.js';

/** What two runs of the same tests have told apart. */
export interface Comparison {
  readonly files: number;
  readonly tests: number;
  readonly passedPlain: number;
  /** Of those that passed plain. */
  readonly passedInContext: number;
  readonly differences: readonly Difference[];
  /** Listed, and run, but without a difference. */
  readonly outdated: readonly string[];
}

interface Difference {
  readonly test: string;
  /** As it is listed; `undefined` for a difference that nobody has explained yet. */
  readonly reason: Reason | undefined;
  readonly failure: string;
}

/** Compares a run in contexts with a plain one. */
export function compare(plain: Results, inContext: Results): Comparison {
  const passed = [...plain].filter(([, result]) => result.passed).map(([test]) => test);
  const differences = passed
    .filter((test) => inContext.get(test)?.passed !== true)
    .map((test) => ({
      test,
      reason: DIFFERENCES.get(test),
      failure: inContext.get(test)?.failure ?? 'it was not run',
    }));
  const found = new Set(differences.map(({ test }) => test));
  return {
    files: new Set([...plain.keys()].map((test) => test.split(SEPARATOR)[0])).size,
    tests: plain.size,
    passedPlain: passed.length,
    passedInContext: passed.length - differences.length,
    differences,
    outdated: passed.filter((test) => DIFFERENCES.has(test) && !found.has(test)),
  };
}

/** Prints a comparison. */
export function print({
  files,
  tests,
  passedPlain,
  passedInContext,
  differences,
  outdated,
}: Comparison): void {
  console.log(
    `${files} files, ${tests} tests: ${passedPlain} pass plain, ${passedInContext} of these in a context`,
  );
  for (const reason of new Set(differences.map((difference) => difference.reason))) {
    const group = differences.filter((difference) => difference.reason === reason);
    console.log(`\n${group.length} ${reason ?? 'NOT LISTED'}`);
    for (const { test, failure } of group) {
      console.log(`  ${test}`);
      if (reason === undefined) {
        console.log(`    ${failure}`);
      }
    }
  }
  if (outdated.length > 0) {
    console.log('\nlisted, but without a difference now');
    outdated.forEach((test) => console.log(`  ${test}`));
  }
}
