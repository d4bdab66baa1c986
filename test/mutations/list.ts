import { CONNECTION_MUTATIONS } from './connection.mutations.js';
import { CONTEXT_MUTATIONS } from './context.mutations.js';
import { KIT_MUTATIONS } from './kit.mutations.js';
import type { Mutation, PendingPromise } from './mutation.js';
import { REQUEST_MUTATIONS } from './request.mutations.js';
import { SESSION_MUTATIONS } from './session.mutations.js';
import { TRANSACTION_MUTATIONS } from './transaction.mutations.js';

/** The ids of all promises, in the order of docs/design.md. */
export const PROMISES: readonly string[] = [
  ...numbered('L', 3),
  ...numbered('W', 4),
  ...numbered('S', 8),
  ...numbered('M', 2),
  ...numbered('C', 7),
  ...numbered('H', 3),
  ...numbered('F', 7),
  'O1',
  'T1',
];

/** All mutations, by the promise that they break. */
export const MUTATIONS: readonly Mutation[] = [
  ...REQUEST_MUTATIONS,
  ...CONTEXT_MUTATIONS,
  ...SESSION_MUTATIONS,
  ...TRANSACTION_MUTATIONS,
  ...CONNECTION_MUTATIONS,
  ...KIT_MUTATIONS,
].toSorted((a, b) => PROMISES.indexOf(a.id) - PROMISES.indexOf(b.id));

/** The promises that are work of an issue, since no code keeps them in full yet. */
export const PENDING: readonly PendingPromise[] = [];

function numbered(letter: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${letter}${index + 1}`);
}
