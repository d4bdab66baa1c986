import { helper, Reference, ScalarReference, Utils } from '@mikro-orm/core';

/**
 * What loads a relation or a lazy property that a field has resolved to and that is not loaded: the server
 * would otherwise read an empty object, or fail.
 *
 * @returns `undefined` where nothing is to be loaded
 */
export function loaderOf(value: unknown): (() => Promise<unknown>) | undefined {
  if (typeof value !== 'object' || value === null) {
    return undefined;
  }
  if (Utils.isCollection(value)) {
    return value.isInitialized() ? undefined : () => value.loadItems();
  }
  if (Reference.isReference(value)) {
    return () => value.load();
  }
  if (value instanceof ScalarReference) {
    return () => value.load();
  }
  if (Utils.isEntity(value)) {
    const wrapped = helper(value);
    return wrapped.isInitialized() ? undefined : () => wrapped.init();
  }
  return undefined;
}
