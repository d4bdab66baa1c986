import { TIMES, type Fault } from './fault.js';
import type { Figures } from './measure.js';
import { POOL_SIZE } from './setup.js';

export interface Row {
  readonly fault: Fault;
  readonly plain: Figures;
  readonly library: Figures;
}

/** The table of docs/guarantees.md, whose links lead from there. */
export function markdown(rows: readonly Row[]): string {
  const head = ['fault', 'plain MikroORM', 'this library', 'test'];
  const lines = rows.map(({ fault, plain, library }) => [
    fault.title,
    cell(plain),
    cell(library),
    fault.proofs.map(link).join(', '),
  ]);
  return [head, head.map(() => '---'), ...lines]
    .map((each) => `| ${each.join(' | ')} |`)
    .join('\n');
}

/** What is measured of both, for machines. */
export function json(rows: readonly Row[]): string {
  const all = rows.map(({ fault: { title, proofs }, plain, library }) => ({
    title,
    proofs,
    plain,
    library,
  }));
  return JSON.stringify({ times: TIMES, poolSize: POOL_SIZE, faults: all }, undefined, 2);
}

function cell(figures: Figures): string {
  const harm = harmOf(figures);
  const counted = Object.entries(figures.told).map(([what, count]) => `${count} × ${what}`);
  const answers = counted.length === 0 ? 'no answer at all' : counted.join(', ');
  return harm.length === 0 ? `no harm; ${answers}` : `**${harm.join('; ')}**; ${answers}`;
}

/** Everything that should not be, in words. */
export function harmOf(figures: Figures): string[] {
  const { slotsLost, hanging, missing, ofFailed, inVain, foreign, lied, nextServed } = figures;
  const counts: readonly (readonly [number, string])[] = [
    [slotsLost, `of ${POOL_SIZE} slots lost`],
    [hanging, `of ${TIMES} callers hang`],
    [lied, `of ${TIMES} answers are false`],
    [missing, 'rows missing'],
    [ofFailed, 'rows of failed requests saved'],
    [inVain, 'rows saved after the end or although undone'],
    [foreign, 'of them in the transaction of another request'],
    figures.counted ?? [0, ''],
    [POOL_SIZE - nextServed, `of the next ${POOL_SIZE} requests not served`],
    [figures.unheard, 'errors that end the process'],
  ];
  return [
    ...counts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`),
    ...(figures.closes ? [] : ['`close()` does not return']),
  ];
}

function link(path: string): string {
  const [, ...rest] = path.replace('.spec.ts', '').split('/');
  return `[${rest.join('/')}](../${path})`;
}
