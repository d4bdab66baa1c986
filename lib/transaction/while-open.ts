import { SessionClosedError } from '../errors.js';
import type { StateMachine } from './state-machine.js';

/** Waits for work of others for as long as a transaction is open, see `Transaction.whileOpen()`. */
export function whileOpen<T>(machine: StateMachine, work: Promise<T>): Promise<T> {
  // This is not a `Promise.race()` with a `finally()`: they make four promises more, for each flush.
  return new Promise((resolve, reject) => {
    // Every gate shuts one day, and an error that nobody sees costs its stack all the same.
    const forget = machine.whenShut(() => {
      reject(machine.commitBlocker ?? new SessionClosedError(machine.place));
    });
    work.then(
      (result) => {
        forget();
        resolve(result);
      },
      (error: unknown) => {
        forget();
        reject(error);
      },
    );
  });
}
