/**
 * The key of what an event does not show by itself: texts with their values, parameters, and errors with
 * all that they hold. Who asks for it takes care of where it goes.
 *
 * @publicApi
 */
export const UNMASKED: unique symbol = Symbol.for('nestjs-db-context:unmasked') as never;

/**
 * Puts behind the symbol what an event does not show by itself. It is not enumerable, so that neither
 * `console.log()` and loggers nor copies of the event have it.
 */
export function withUnmasked<E extends object, U>(
  event: E,
  unmasked: U,
): E & { readonly [UNMASKED]: U } {
  Object.defineProperty(event, UNMASKED, { value: unmasked });
  return event as E & { readonly [UNMASKED]: U };
}
