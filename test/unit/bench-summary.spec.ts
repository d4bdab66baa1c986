/** The table that `npm run bench` prints without options, where not each candidate is asked for everything. */
import type { Adapter, Candidate } from '../../bench/candidates.js';
import { aimsTable } from '../../bench/report/aims.js';
import {
  emptyResults,
  type CandidateFigures,
  type Comparison,
  type Results,
} from '../../bench/report/results.js';
import { summaryTable } from '../../bench/report/summary-table.js';
import { candidatesOn } from '../../bench/throughput.js';

const spread = (median: number): CandidateFigures['perSecond'] => ({
  median,
  p10: median,
  p90: median,
});

function comparisonOn(adapter: Adapter, ...candidates: Candidate[]): Comparison {
  return {
    workload: 'one read',
    adapter,
    roundTripMs: 0,
    clients: 10,
    candidates: candidates.map((candidate) => ({
      candidate,
      perSecond: spread(100),
      medianMs: spread(1),
      p99Ms: spread(2),
      cpuUs: spread(3),
      ...(candidate === 'library' ? {} : { throughputRatio: spread(1.5) }),
    })),
  };
}

const RESULTS: Results = {
  ...emptyResults({
    node: 'v24.0.0',
    cpuModel: 'A processor',
    cpus: 2,
    startedAt: '2026-11-26T10:00:00.000Z',
    asked: '',
    loadAverage: [0, 0, 0],
  }),
  throughput: [
    comparisonOn('fastify', 'library', 'hand-written', 'typeorm'),
    comparisonOn('express', 'library', 'hand-written'),
  ],
};

it('the cells of what is not asked on an adapter are empty', () => {
  const cells = summaryTable(RESULTS)
    .split('\n')
    .slice(2)
    .map((row) =>
      row
        .split('|')
        .slice(2, 7)
        .map((cell) => cell.trim()),
    );
  expect(cells).toEqual([
    ['library', '100', '', '100', ''],
    ['hand-written', '100', '1.50 (1.50-1.50)', '100', '1.50 (1.50-1.50)'],
    ['typeorm (other ORM)', '100', '1.50 (1.50-1.50)', '', ''],
  ]);
});

it('an aim is judged on the adapters that have both of its candidates', () => {
  const throughput = [
    comparisonOn('fastify', 'library', 'hand-written'),
    comparisonOn('express', 'library'),
  ];
  expect(
    aimsTable({ ...RESULTS, throughput })
      .split('\n')
      .at(-1),
  ).toBe(
    '| one read on one machine: 1.00 of the requests/s of `hand-written` | 1.50     | reached |',
  );
});

it('other ORMs are asked on the first adapter alone in the summary, and on all of them in its parts', () => {
  const candidates: Candidate[] = ['library', 'typeorm', 'drizzle', 'no-database'];
  const adapters: Adapter[] = ['fastify', 'express'];
  const all = { adapters, candidates };
  expect(candidatesOn('fastify', { ...all, form: 'summary' })).toEqual(candidates);
  expect(candidatesOn('express', { ...all, form: 'summary' })).toEqual(['library', 'no-database']);
  expect(candidatesOn('express', { ...all, form: 'parts' })).toEqual(candidates);
  expect(candidatesOn('express', { ...all, form: 'check' })).toEqual(['library']);
  expect(candidatesOn('express', { form: 'summary', adapters: ['express'], candidates })).toEqual(
    candidates,
  );
});
