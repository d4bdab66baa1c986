import {
  Collection,
  EntityManager,
  Reference,
  ScalarReference,
  Utils,
  wrap,
} from '@mikro-orm/core';

/**
 * Makes a value of any kind comparable: entities become their class and their data, objects
 * that live on become the name of their class.
 *
 * @param em is replaced by a mark, also where a proxy or a fork of it stands for it
 */
export function plainValue(
  value: unknown,
  em?: EntityManager,
  above: readonly object[] = [],
): unknown {
  if (typeof value === 'bigint') {
    return `${value}n`;
  }
  if (value === undefined || typeof value === 'function' || typeof value === 'symbol') {
    return `<${typeof value}>`;
  }
  if (typeof value !== 'object' || value === null) {
    return value;
  }
  if (above.includes(value)) {
    return '<circle>';
  }
  const within = (each: unknown): unknown => plainValue(each, em, [...above, value]);
  if (value instanceof EntityManager) {
    return value.getContext(false) === em?.getContext(false) ? '<em>' : '<another em>';
  }
  if (value instanceof Date) {
    return value.toISOString();
  }
  if (value instanceof Error) {
    return plainError(value);
  }
  if (value instanceof Reference) {
    return { ref: within(value.unwrap()) };
  }
  if (value instanceof ScalarReference) {
    return { ref: within(value.unwrap()) };
  }
  if (value instanceof Collection) {
    return {
      isInitialized: value.isInitialized(),
      isDirty: value.isDirty(),
      items: within(value.getItems(false)),
    };
  }
  if (Array.isArray(value)) {
    return value.map(within);
  }
  if (value instanceof Map || value instanceof Set) {
    return [...value].map(within);
  }
  if (Utils.isEntity<object>(value)) {
    const { constructor } = value;
    return {
      [constructor.name]: within(wrap(value).toPOJO()),
      loaded: wrap(value).isInitialized(),
    };
  }
  if (!isRecord(value)) {
    return `<${(value as object).constructor.name}>`;
  }
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, within(each)]));
}

/** The properties by which a caller can distinguish errors. */
export function plainError(error: unknown): unknown {
  if (!(error instanceof Error)) {
    return { thrown: plainValue(error) };
  }
  const { code } = error as { code?: unknown };
  return { class: error.constructor.name, name: error.name, message: error.message, code };
}

/** Whether it is its data, and not something with a life of its own. */
function isRecord(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null || Utils.isPlainObject(value);
}
