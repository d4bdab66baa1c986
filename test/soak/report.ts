import type { Log } from './load.js';
import { SAMPLE_COLUMNS, sampleCells } from './sample-cells.js';
import type { Sample } from './sample.js';
import type { PartyFigures } from './table.js';

const COLUMNS = [
  'minute',
  'requests',
  'over HTTP/2',
  'acknowledged',
  'failed',
  'client left',
  'hanging',
  ...SAMPLE_COLUMNS,
  'amiss',
];

/** The head of the table that has a row for each round. */
export const HEADER = `| ${COLUMNS.join(' | ')} |\n|${' ---: |'.repeat(COLUMNS.length)}`;

/** The row of a round, but for its sample, which must not see the logs any more. */
export function line(logs: readonly Log[], amiss: number): (sample: Sample) => string {
  const totals = new Totals();
  logs.forEach((log) => totals.add(log));
  const overHttp2 = logs.find(({ protocol }) => protocol === 'HTTP/2')!.requests;
  return (sample) => {
    const { requests, acknowledged, failed, disconnected, hanging } = totals;
    const cells = [
      sample.minute.toFixed(1),
      requests,
      overHttp2,
      acknowledged,
      failed,
      disconnected,
      hanging,
      ...sampleCells(sample),
      amiss,
    ];
    return `| ${cells.join(' | ')} |`;
  };
}

/** What several logs come to. */
export class Totals {
  requests = 0;
  acknowledged = 0;
  failed = 0;
  disconnected = 0;
  hanging = 0;
  /** Units of work whose clients left, and how many of them are saved. */
  left = 0;
  savedOfLeft = 0;
  readonly errors = new Map<string, number>();

  add(log: Log): void {
    this.requests += log.requests;
    this.acknowledged += log.acknowledged;
    this.disconnected += log.disconnected;
    this.hanging += log.hanging;
    this.left += log.left.size;
    for (const [name, count] of log.errors) {
      this.failed += count;
      this.errors.set(name, (this.errors.get(name) ?? 0) + count);
    }
  }

  /** For machines. */
  figures(): Omit<PartyFigures, 'protocol' | 'faults'> {
    const { requests, acknowledged, failed, disconnected, hanging, errors } = this;
    return {
      requests,
      acknowledged,
      failed,
      disconnected,
      hanging,
      errors: Object.fromEntries(errors),
    };
  }

  toString(): string {
    const { requests, acknowledged, failed, disconnected, hanging, left, savedOfLeft } = this;
    return `${requests} requests, ${acknowledged} acknowledged, ${failed} failed, ${disconnected} left (${savedOfLeft} of ${left} that write are saved), ${hanging} hanging`;
  }
}

export function list(counts: readonly (readonly [string, number])[]): string {
  return counts.map(([name, count]) => `${count} × ${name}`).join(', ');
}
