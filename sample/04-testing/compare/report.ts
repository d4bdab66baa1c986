import { BODIES } from './bodies.js';
import { quantile, type Figures } from './compare.js';

/** How many tests the time is told for that a way adds to a suite. */
const SUITE = 500;

/** @param all those of no clean-up at all, of the shared transaction, and of other ways */
export function report(tables: number, all: readonly Figures[]): string {
  const [unwrapped, shared, ...others] = all as [Figures, Figures, ...Figures[]];
  return [
    `${tables} tables, ${shared.totalMs.length} tests in each way, by turns:`,
    '',
    `${' '.repeat(36)}   median    10 %      90 %    around the test    ${SUITE} tests`,
    ...all.map(
      (way) =>
        `${way.name.padEnd(36)}${ms(way.totalMs)} ${ms(way.totalMs, 0.1)} ${ms(way.totalMs, 0.9)} ` +
        `${ms(way.aroundMs)}${way === unwrapped ? '' : `${added(way, unwrapped)} more`.padStart(22)}`,
    ),
    '',
    `the shared transaction: ${ratio(shared, unwrapped)} of no clean-up`,
    ...others.map((way) => `${way.name}: ${ratio(way, shared)} of the shared transaction`),
    '',
  ].join('\n');
}

/** The median of the rounds, and the extremes. */
function ratio({ roundMs }: Figures, to: Figures): string {
  const ratios = roundMs.map((sum, round) => sum / to.roundMs[round]!);
  const [median, low, high] = [0.5, 0, 1].map((share) => quantile(ratios, share).toFixed(2));
  return `${median} times the time (rounds: ${low} to ${high})`;
}

/** What a way adds to a suite, by the median of the rounds. */
function added(way: Figures, unwrapped: Figures): string {
  const perRound = way.roundMs.map((sum, round) => sum - unwrapped.roundMs[round]!);
  return `${((quantile(perRound, 0.5) / BODIES.length / 1_000) * SUITE).toFixed(1)} s`;
}

function ms(values: readonly number[], share = 0.5): string {
  return `${quantile(values, share).toFixed(1)} ms`.padStart(9);
}
