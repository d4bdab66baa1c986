/**
 * Puts a method of one object in place of its own, or of that of its class.
 *
 * @param make makes the new one of the one before, which is to be called with the object
 * @returns a function that undoes this, unless the method was replaced once more since
 */
export function replaceMethod<T extends object, K extends keyof T>(
  target: T,
  name: K,
  make: (before: T[K]) => T[K],
): () => void {
  const isOwn = Object.hasOwn(target, name);
  const before = target[name];
  const replaced = make(before);
  target[name] = replaced;
  return () => {
    if (target[name] !== replaced) {
      return;
    }
    if (isOwn) {
      target[name] = before;
    } else {
      delete (target as Partial<T>)[name];
    }
  };
}
