import { InvalidOptionsError } from '../../errors.js';
import {
  WorkerDatabaseError,
  WrongDatabaseError,
  type WorkerDatabaseStep,
} from './worker-database-error.js';

/** Errors that need no more words. */
const SPEAKING = [WorkerDatabaseError, WrongDatabaseError, InvalidOptionsError];

/**
 * Runs one step.
 *
 * @throws {@link WorkerDatabaseError} it failed, unless the error says so itself
 */
export async function attempt<T>(
  step: WorkerDatabaseStep,
  name: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (SPEAKING.some((type) => error instanceof type)) {
      throw error;
    }
    throw new WorkerDatabaseError(isConnectFailure(error) ? 'connect' : step, name, error);
  }
}

/** Whether the network or the log-in (SQLSTATE 28...) failed, or the driver is not installed. */
function isConnectFailure(error: unknown): boolean {
  const { code, syscall } = error as { readonly code?: unknown; readonly syscall?: unknown };
  return (
    error instanceof AggregateError ||
    syscall !== undefined ||
    code === 'ERR_MODULE_NOT_FOUND' ||
    String(code).startsWith('28')
  );
}
