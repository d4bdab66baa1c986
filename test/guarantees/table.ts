import type { Measurement } from '../../bench/report/measurement.js';
import { table } from '../../bench/report/table.js';
import type { Figures } from './measure.js';

/** The title of the row that has no fault. */
export const NO_FAULT = 'none, to compare with';

/** What one fault did to both applications. */
export interface Row {
  readonly title: string;
  /** The specs that prove what the library does, by their path from the root of the repository. */
  readonly proofs: readonly string[];
  readonly plain: Figures;
  readonly library: Figures;
}

/** What a run has measured; docs/figures has that of docs/guarantees.md. */
export interface ComparedFigures extends Measurement {
  /** How often each fault happened in each application. */
  readonly times: number;
  /** Connections that a pool has at most. */
  readonly poolSize: number;
  readonly faults: readonly Row[];
}

/** The faults, a row each, with links that lead from docs. */
export function faultsTable(figures: ComparedFigures): string {
  return table(
    ['fault', 'plain MikroORM', 'this library', 'test'],
    figures.faults.map(({ title, proofs, plain, library }) => [
      title,
      cell(plain, figures),
      cell(library, figures),
      proofs.map(link).join(', '),
    ]),
  );
}

/** How often an application stood still, and how often it came to harm at all. */
export function harmTable(figures: ComparedFigures): string {
  const faults = figures.faults.filter(({ title }) => title !== NO_FAULT);
  const countsOf = (side: 'plain' | 'library'): readonly string[] => {
    const all = faults.map((row) => row[side]);
    return [
      all.filter((each) => harmOf(each, figures).length > 0).length,
      all.filter((each) => isAtStandstill(each, figures)).length,
      all.filter(({ hanging }) => hanging > 0).length,
      all.filter(({ lied }) => lied > 0).length,
      all.filter(({ inVain }) => inVain > 0).length,
    ].map((count) => `${count} of ${faults.length}`);
  };
  const plain = countsOf('plain');
  const library = countsOf('library');
  return table(
    ['faults that', 'plain MikroORM', 'this library'],
    [
      'did any harm',
      'left the application at a standstill',
      'left callers without an answer',
      'had a client told what is not true',
      'saved rows that were undone, or too late',
    ].map((what, index) => [what, plain[index]!, library[index]!]),
  );
}

function cell(figures: Figures, of: ComparedFigures): string {
  const harm = harmOf(figures, of);
  const counted = Object.entries(figures.answered).map(([what, count]) => `${count} × ${what}`);
  const answers = counted.length === 0 ? 'no answer at all' : counted.join(', ');
  return harm.length === 0 ? `no harm; ${answers}` : `**${harm.join('; ')}**; ${answers}`;
}

/** Whether nothing works any more: no connection is left, nobody is served, and nothing closes it. */
function isAtStandstill(
  { slotsLost, nextServed, closes }: Figures,
  { poolSize }: ComparedFigures,
): boolean {
  return slotsLost === poolSize && nextServed === 0 && !closes;
}

/** Everything that should not be, in words. */
export function harmOf(figures: Figures, of: ComparedFigures): string[] {
  const { slotsLost, hanging, missing, ofFailed, inVain, foreign, lied, nextServed } = figures;
  const { poolSize, times } = of;
  const isStill = isAtStandstill(figures, of);
  const counts: readonly (readonly [number, string])[] = [
    [isStill ? 0 : slotsLost, `of ${poolSize} slots lost`],
    [hanging, `of ${times} callers hang`],
    [lied, `of ${times} answers are false`],
    [missing, 'rows missing'],
    [ofFailed, 'rows of failed requests saved'],
    [inVain, 'rows saved after the end or although undone'],
    [foreign, 'of them in the transaction of another request'],
    figures.counted ?? [0, ''],
    [isStill ? 0 : poolSize - nextServed, `of the next ${poolSize} requests not served`],
    [figures.unheard, 'errors that end the process'],
  ];
  return [
    ...(isStill ? ['standstill'] : []),
    ...counts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`),
    ...(figures.closes || isStill ? [] : ['`close()` does not return']),
  ];
}

function link(path: string): string {
  const [, ...rest] = path.replace('.spec.ts', '').split('/');
  return `[${rest.join('/')}](../${path})`;
}
