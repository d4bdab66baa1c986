import { SessionClosedError } from '../errors.js';
import type { StateMachine } from './state-machine.js';

/** Waits for work of others for as long as a transaction is open, see `Transaction.whileOpen()`. */
export async function whileOpen<T>(machine: StateMachine, work: Promise<T>): Promise<T> {
  let forget!: () => void;
  const over = new Promise<never>((_, reject) => {
    forget = machine.whenShut(() => {
      reject(machine.commitBlocker ?? new SessionClosedError(machine.place));
    });
  });
  try {
    return await Promise.race([work, over]);
  } finally {
    // Every gate shuts one day, and an error that nobody sees costs its stack all the same.
    forget();
  }
}
