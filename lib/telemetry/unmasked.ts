/**
 * The key of what an event does not show by itself: texts with their values, parameters, and errors with
 * all that they hold. Who asks for it takes care of where it goes.
 *
 * @publicApi
 */
export const UNMASKED: unique symbol = Symbol.for('nestjs-db-context:unmasked') as never;
