/**
 * A context object of its own for an operation or an event, whose server hands the same one to several.
 * What is not enumerable stays behind: Nest keeps the request-scoped providers of an operation there.
 */
export function copyOfContext(contextValue: unknown): object {
  if (typeof contextValue !== 'object' || contextValue === null) {
    return {};
  }
  const prototype = Object.getPrototypeOf(contextValue) as object | null;
  const properties: PropertyDescriptorMap = Object.getOwnPropertyDescriptors(contextValue);
  for (const key of Reflect.ownKeys(properties)) {
    if (properties[key as string]?.enumerable !== true) {
      delete properties[key as string];
    }
  }
  return Object.create(prototype, properties) as object;
}
