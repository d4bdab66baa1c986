import { InvalidOptionsError } from '../errors.js';
import type { FlushTime } from './context-options.js';

export const FLUSH_TIMES: readonly FlushTime[] = ['handler', 'commit'];

/**
 * @param where the beginning of the error's message
 * @throws {@link InvalidOptionsError} it is none of the times that there are
 */
export function checkFlushTime(time: FlushTime, where: string): void {
  if (!FLUSH_TIMES.includes(time)) {
    throw new InvalidOptionsError(
      `${where} was given ${time}. Give one of ${FLUSH_TIMES.join(', ')}.`,
    );
  }
}
