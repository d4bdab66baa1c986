import type { EndCause } from '../errors.js';
import type { EndedBy } from './payloads.js';

/** What events say of an end, without its error. */
export function endedByOf({ code, what }: EndCause): EndedBy {
  return { code, what };
}
