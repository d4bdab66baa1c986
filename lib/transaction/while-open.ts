import { SessionClosedError } from '../errors.js';
import type { StateMachine } from './state-machine.js';

/** Waits for work of others for as long as a transaction is open, see `Transaction.whileOpen()`. */
export async function whileOpen<T>(machine: StateMachine, work: Promise<T>): Promise<T> {
  let forget: (() => void) | undefined;
  try {
    // This is not a `Promise.race()`, which makes three promises more for each flush. The functions of the promise
    // are handed over as they are: through others, V8 finds no way from a statement to the code that asked for it.
    return await new Promise<T>((resolve, reject) => {
      forget = machine.whenShut(() => {
        reject(machine.commitBlocker ?? new SessionClosedError(machine.place));
      });
      work.then(resolve, reject);
    });
  } finally {
    // Every gate shuts one day, and an error that nobody sees costs its stack all the same.
    forget?.();
  }
}
