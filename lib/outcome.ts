/**
 * How work on a database ended; the one vocabulary of the library.
 *
 * - `committed`: the server confirmed the COMMIT, or there was nothing that it could have lost.
 * - `rolled-back`: nothing of it was saved.
 * - `unknown`: COMMIT was sent and its answer was lost.
 * - `untouched`: no transaction had begun.
 *
 * @publicApi
 */
export type Outcome = 'committed' | 'rolled-back' | 'unknown' | 'untouched';
