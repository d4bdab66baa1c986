import { InvalidOptionsError, type ErrorPlace } from '../errors.js';

/** Hooks that keep giving one another work would go on for ever. */
const MOST_FLUSHES = 10;

/**
 * Ends a commit whose flushes do not come to an end.
 *
 * @param flushes how many there have been for this commit
 * @throws {@link InvalidOptionsError}
 */
export function assertFlushesEnd(flushes: number, { connectionName, origin }: ErrorPlace): void {
  if (flushes >= MOST_FLUSHES) {
    throw new InvalidOptionsError(
      `The hooks and subscribers of the flushes of connection "${connectionName}" keep giving a commit more to ` +
        `write${origin === undefined ? '' : ` in the context of ${origin}`}, so that it never comes. A hook that ` +
        'persists an entity, or registers a beforeCommit hook, must not do so again for what came of that.',
    );
  }
}
