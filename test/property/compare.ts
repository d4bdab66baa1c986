import { perDatabase, type Outcome, type Row } from './program.js';

/**
 * An outcome in a form in which two can be compared: rows in the order of their texts, transactions
 * numbered in the order in which they then appear, and thus by which rows they have in common.
 */
export function comparable(outcome: Outcome): Outcome {
  return { ...outcome, rows: perDatabase((db) => normalized(outcome.rows[db])) };
}

function normalized(rows: readonly Row[]): Row[] {
  const numbers = new Map<string | number, number>();
  return rows
    .toSorted((a, b) => (a.text < b.text ? -1 : 1))
    .map(({ text, transaction }) => {
      const number = numbers.get(transaction) ?? numbers.size + 1;
      numbers.set(transaction, number);
      return { text, transaction: number };
    });
}
