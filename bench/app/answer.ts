import { ACCOUNTS } from './account.entity.js';

/** What every route answers with. */
export interface Answer {
  readonly id: number;
  readonly balance: number;
}

/** How many rows `five-reads` reads. */
export const READS = 5;

// The ids are taken in turn rather than from a parameter, so that each workload has a single URL.
let turn = 0;
export const nextId = (): number => (turn++ % ACCOUNTS) + 1;

// The answer is made before the transaction ends, so that no candidate is measured by how it serializes
// entities.
export const answer = ({ id, balance }: Answer): Answer => ({ id, balance });
