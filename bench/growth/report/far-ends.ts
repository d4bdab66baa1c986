import type { Side } from '../curve.js';
import type { PromiseCounts } from '../run/count-promises.js';
import type { CurveFigures, MeasureFigures } from './figures.js';
import { readable, readableRatio } from './numbers.js';

const INTRODUCTION = `# How it grows

The library beside hand-written \`em.transactional()\`, in two processes that take turns; medians of several
rounds, which are shared out to several such pairs of processes. A ratio is the median of those of the rounds, and in
brackets stand its quartiles. "Grows" is what is added from the first point of a curve to its last one, the library's as a
multiple of hand-written's: above 1 the library grows faster. All figures are in the JSON files beside the pictures.
Measured and written by \`npm run bench:growth\`
([bench/growth/main.ts](../../../bench/growth/main.ts)):
`;

/** The page with the far end of each curve, and with the pictures. */
export function farEndsPage(curves: readonly CurveFigures[]): string {
  const rows = curves.flatMap((curve) => curve.measures.map((measure) => rowOf(curve, measure)));
  const head = [
    'curve',
    'at',
    'library',
    'hand-written',
    'library / hand-written',
    'grows',
    'promises; they grow',
    'load',
  ];
  const pictures = curves.flatMap((curve) => [
    `## ${curve.title}`,
    `${sentence(curve.description)} ${whereOf(curve)}`,
    ...curve.measures.map(({ file, title }) => `![${curve.title}: ${title}](${file}.svg)`),
  ]);
  return `${[INTRODUCTION.trimEnd(), table(head, rows), ...pictures].join('\n\n')}\n`;
}

/** The far end of each quantity of a curve, a line each, with its growth. */
export function farEndsLines(curve: CurveFigures): readonly string[] {
  return curve.measures.map((measure) => `  ${rowOf(curve, measure).slice(1).join(' | ')}`);
}

function rowOf(
  { title, x, load, machine, promises, others }: CurveFigures,
  { title: what, unit, sides, ratio, growth }: MeasureFigures,
): readonly string[] {
  const end = ratio.at(-1)!;
  const valueOf = (side: Side): string => `${readable(sides[side].at(-1)!.median)} ${unit}`;
  return [
    `${title}: ${what}`,
    `${readable(end.x)} ${x.label}`,
    `${valueOf('library')}${failedOf(others, 'library')}`,
    `${valueOf('hand-written')}${failedOf(others, 'hand-written')}`,
    `${readableRatio(end.median)} (${readableRatio(end.lower)}-${readableRatio(end.upper)})`,
    growth === null ? 'flat' : readableRatio(growth),
    promises === undefined ? '' : promisesOf(promises),
    `${load.before} to ${load.after} on ${machine.cores} cores`,
  ];
}

/** Requests at the far end whose answer was no success. */
function failedOf({ failed }: CurveFigures['others'], side: Side): string {
  const count = failed?.[side].at(-1) ?? 0;
  return count === 0 ? '' : `, ${readable(count)} failed`;
}

/** Promises at the far end, and what each side adds up to there. */
function promisesOf({ library, 'hand-written': handWritten }: PromiseCounts): string {
  const growth =
    (library.at(-1)! - library[0]!) / Math.max(1, handWritten.at(-1)! - handWritten[0]!);
  return `${library.at(-1)} / ${handWritten.at(-1)}; ${readableRatio(growth)}`;
}

function whereOf({ measuredAt, machine, rounds }: CurveFigures): string {
  const { cores, cpu, node, platform } = machine;
  return `${measuredAt.slice(0, 10)}, Node ${node.slice(1)}, ${cores} cores (${cpu}, ${platform}), ${rounds} rounds.`;
}

function sentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}.`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, column) =>
    Math.max(...[head, ...rows].map((row) => row[column]!.length)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}
