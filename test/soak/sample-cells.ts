import type { Sample } from './sample.js';

/** What is left of connections and memory, in the order of {@link sampleCells}. */
export const SAMPLE_COLUMNS: readonly string[] = [
  'heap, MB',
  'checked out',
  'waiting',
  'connections',
  'over TLS',
  'open transactions',
  'open contexts',
];

export function sampleCells(sample: Sample): readonly (string | number)[] {
  return [
    sample.heapMb.toFixed(1),
    sample.checkedOut,
    sample.waiting,
    sample.serverConnections,
    sample.tlsConnections,
    sample.openTransactions,
    sample.openContexts,
  ];
}
