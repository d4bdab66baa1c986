/** Figures that a sentence repeats are those of docs/figures, which scripts write. */
import { readFileSync } from 'node:fs';

import { ratioIn } from '../../bench/report/aims.js';
import type { Adapter, Candidate } from '../../bench/candidates.js';
import type { Results } from '../../bench/report/results.js';
import type { Figures } from '../guarantees/measure.js';
import type { ComparedFigures } from '../guarantees/table.js';

const textOf = (path: string): string =>
  readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8').replaceAll(/\s+/g, ' ');
const summary = JSON.parse(textOf('docs/figures/summary.json')) as Results;
const { faults } = JSON.parse(textOf('docs/figures/guarantees.json')) as ComparedFigures;

function requestsPerSecond(workload: string, baseline: Candidate, adapter: Adapter): number {
  const comparison = summary.throughput.find(
    (each) => each.workload === workload && each.adapter === adapter,
  );
  return ratioIn(comparison!, { of: 'throughput', baseline })!;
}

function timeOfOneRead(candidate: Candidate): number {
  const comparison = summary.latency.find(({ workload }) => workload === 'one read');
  return ratioIn(comparison!, { of: 'latency', candidate, baseline: 'hand-written' })!;
}

function plain(title: string): Figures {
  return faults.find((fault) => fault.title === title)!.plain;
}

it('what it costs and what it saves, in the README', () => {
  const read = (baseline: Candidate, adapter: Adapter = 'fastify'): string =>
    requestsPerSecond('one read', baseline, adapter).toFixed(2);
  const idle = (baseline: Candidate): number =>
    requestsPerSecond('no database', baseline, 'fastify');
  const cls = [read('nestjs-cls-transactional'), read('nestjs-cls-transactional', 'express')];
  const written = (['fastify', 'express'] as const).map((adapter) =>
    requestsPerSecond('read, modify, write', 'hand-written', adapter).toFixed(2),
  );
  const readme = textOf('README.md');
  for (const words of [
    `one read takes ${timeOfOneRead('library').toFixed(2)} of the time of`,
    `(${timeOfOneRead('first-write').toFixed(2)} with \`begin: 'first-write'\`)`,
    `${read('hand-written')} of its requests per second`,
    `a read and a write ${written.toSorted().join(' to ')} of those by hand`,
    `${cls.toSorted().join(' to ')} of those of \`@nestjs-cls/transactional\``,
    `${idle('bare-interceptor').toFixed(2)} of one behind an empty interceptor`,
    `${idle('no-database').toFixed(2)} of an application without any module`,
    `${idle('request-scope').toFixed(1)} times one with \`REQUEST\`-scoped providers`,
  ]) {
    expect(readme).toContain(words);
  }
});

it.each(['README.md', 'docs/index.md'])('what plain MikroORM did, in %s', (page) => {
  const killed = plain('backend killed between two statements');
  const swallowed = plain('a failed statement, its error swallowed, then commit');
  const late = plain('the same with three late inserts, while others use the pool');
  const [seen] = plain('`SET app.tenant`, and other requests over the same connection').counted!;
  const { hanging, closes } = plain(
    'a transaction of its own (`requires_new`) in each request, awaited',
  );
  expect(closes).toBe(false);
  const text = textOf(page);
  for (const words of [
    `a killed backend: ${killed.slotsLost} of 5 slots lost, and the application stands still`,
    `${swallowed.answered['200']} answers of 200, ${swallowed.missing} rows missing`,
    `${late.inVain} rows, ${late.foreign} of them in transactions of other requests`,
    `${seen} of 20 requests saw the setting of another`,
    `a \`requires_new\` in each request: ${hanging} callers hang, and \`close()\` as well`,
  ]) {
    expect(text).toContain(words);
  }
});
