import type { CountsByWorkload, RequestCounts } from './expected-counts.js';

const COUNTED = [
  'roundTrips',
  'statements',
  'promises',
] as const satisfies readonly (keyof RequestCounts)[];

/** Where counts are not the expected ones, a line each; also where only one side has a workload. */
export function differencesOf(
  expected: CountsByWorkload,
  counted: CountsByWorkload,
): readonly string[] {
  return namesOf(expected, counted).flatMap((candidate) => {
    const [ours = {}, theirs = {}] = [expected[candidate], counted[candidate]];
    return namesOf(ours, theirs).flatMap((workload) =>
      COUNTED.filter((count) => ours[workload]?.[count] !== theirs[workload]?.[count]).map(
        (count) =>
          `${candidate}, ${workload}: ${String(theirs[workload]?.[count])} ${count}, expected ${String(ours[workload]?.[count])}`,
      ),
    );
  });
}

/** Where something makes another number of promises than the expected one, or was not counted, a line each. */
export function promisesThatDiffer(
  expected: Readonly<Record<string, number>>,
  counted: Readonly<Record<string, number>>,
): readonly string[] {
  return namesOf(expected, counted)
    .filter((name) => expected[name] !== counted[name])
    .map(
      (name) => `${name}: ${String(counted[name])} promises, expected ${String(expected[name])}`,
    );
}

/** Where something takes more bytes than it may, or was not measured, a line each. */
export function excessesOf(
  most: Readonly<Record<string, number>>,
  measured: Readonly<Record<string, number>>,
): readonly string[] {
  return Object.entries(most).flatMap(([name, bytes]) => {
    const each = measured[name];
    return each !== undefined && each <= bytes
      ? []
      : [`${name}: ${each?.toFixed(0)} bytes, expected at most ${bytes}`];
  });
}

function namesOf<Name extends string>(
  ...records: readonly Readonly<Partial<Record<Name, unknown>>>[]
): readonly Name[] {
  return [...new Set(records.flatMap((record) => Object.keys(record) as Name[]))];
}
