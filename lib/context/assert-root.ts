import { InvalidOptionsError } from '../errors.js';
import type { ContextRegistry } from './context-registry.js';

/**
 * Refuses a module that is nothing without `DbContextModule.forRoot()`.
 *
 * @param imported what needs it, for the message
 * @throws {@link InvalidOptionsError} the application has no `DbContextModule.forRoot()`
 */
export function assertRoot(
  registry: ContextRegistry | undefined,
  imported = 'DbContextModule.forFeature()',
): asserts registry is ContextRegistry {
  if (registry === undefined) {
    throw new InvalidOptionsError(
      `${imported} is imported, and DbContextModule.forRoot() is missing. Import ` +
        'it once, in the AppModule; connections: [] is enough.',
    );
  }
}
