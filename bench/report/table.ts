/** A table in Markdown. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, column) =>
    Math.max(...[head, ...rows].map((row) => row[column]!.length)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

/** How much of an error fits into a row. */
const FAILURE_LENGTH = 60;

/** The cells of a row that has no figures: the first says why. */
export function failedCells(failure: string, columns: number): readonly string[] {
  const [line] = failure.split('\n') as [string];
  const short = line.length > FAILURE_LENGTH ? `${line.slice(0, FAILURE_LENGTH)}...` : line;
  return [`failed: ${short}`, ...Array.from({ length: columns - 1 }, () => '')];
}
