import type { Measurement } from '../../bench/report/measurement.js';
import { table } from '../../bench/report/table.js';
import { SAMPLE_COLUMNS, sampleCells } from './sample-cells.js';
import type { Sample } from './sample.js';

/** What was done and found in one round, and what was left after it. */
export interface Round {
  readonly sample: Sample;
  readonly requests: number;
  readonly overHttp2: number;
  /** Rows that are missing, there by half, or of requests that failed. */
  readonly amiss: number;
}

/** What the clients of one application were answered. */
export interface PartyFigures {
  readonly protocol: string;
  readonly requests: number;
  readonly acknowledged: number;
  readonly failed: number;
  /** Clients that left before their answer. */
  readonly disconnected: number;
  /** Clients that got no answer within the limit of the script. */
  readonly hanging: number;
  /** How often something happened to the connections of the application. */
  readonly faults: number;
  /** How often which error was the answer, by its class. */
  readonly errors: Readonly<Record<string, number>>;
}

/** What a run has measured; docs/figures has that of docs/guarantees.md. */
export interface SoakFigures extends Measurement {
  readonly rounds: readonly Round[];
  readonly parties: readonly PartyFigures[];
  /** Growth of the heap over the second half, where there were enough rounds to say. */
  readonly heapMbPerMinute?: number | undefined;
  /** Errors without a listener, each of which ends a process by default. */
  readonly unheard: number;
  readonly closedWithinMs: number;
}

/** How many pauses a page shows of a long run. */
const SHOWN_PAUSES = 10;

/** What was left in the pauses, some of them where there were many, and whether anything was amiss. */
export function pausesTable({ rounds }: SoakFigures): string {
  const step = Math.max(1, Math.ceil(rounds.length / SHOWN_PAUSES));
  const shown = rounds.filter((_, index) => (rounds.length - 1 - index) % step === 0);
  return table(
    ['minute', 'requests', 'over HTTP/2', ...SAMPLE_COLUMNS, 'rows amiss', 'load'],
    shown.map(({ sample, requests, overHttp2, amiss }) =>
      [
        sample.minute.toFixed(1),
        requests,
        overHttp2,
        ...sampleCells(sample),
        amiss,
        sample.load.toFixed(1),
      ].map(String),
    ),
  );
}

/** What the clients of both applications were answered, and how the run ended. */
export function answersTable(figures: SoakFigures): string {
  const { parties, rounds, heapMbPerMinute, unheard, closedWithinMs } = figures;
  const row = (title: string, of: (party: PartyFigures) => number): string[] => [
    title,
    ...parties.map((party) => String(of(party))),
  ];
  const errors = new Set(parties.flatMap((party) => Object.keys(party.errors)));
  const countOf = (name: string): number =>
    parties.reduce((sum, party) => sum + (party.errors[name] ?? 0), 0);
  const rarestLast = [...errors].toSorted((one, other) => countOf(other) - countOf(one));
  const ofBoth = (title: string, figure: number | string): string[] => [
    title,
    ...parties.map((_, index) => (index === 0 ? String(figure) : '')),
  ];
  return table(
    ['', ...parties.map(({ protocol }) => protocol)],
    [
      row('requests', ({ requests }) => requests),
      row('acknowledged', ({ acknowledged }) => acknowledged),
      row('answered with an error', ({ failed }) => failed),
      row('left', ({ disconnected }) => disconnected),
      row('without an answer', ({ hanging }) => hanging),
      row('faults', ({ faults }) => faults),
      ...rarestLast.map((name) => row(`\`${name}\``, (party) => party.errors[name] ?? 0)),
      ofBoth(
        'rows amiss, of both',
        rounds.reduce((sum, { amiss }) => sum + amiss, 0),
      ),
      ofBoth('errors that nobody heard, of both', unheard),
      ofBoth('growth of the heap, MB per minute', heapMbPerMinute?.toFixed(2) ?? 'unknown'),
      ofBoth('closing both, ms', closedWithinMs),
    ],
  );
}
