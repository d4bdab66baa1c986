import type { NodeResponse } from './node-response.js';

/** What may be called on a response beside the methods that send. */
const METHODS = [
  'setHeader',
  'setHeaders',
  'appendHeader',
  'removeHeader',
  'addTrailers',
  'setTrailer',
  'destroy',
] as const;

type Method = (...parameters: readonly unknown[]) => unknown;

/**
 * Makes these calls do nothing where they come from code whose answer was dropped: Node would refuse them by
 * an error, since another answer was sent, and in a timer or a callback that error ends the process.
 */
export function ignoreLateCalls(raw: NodeResponse, isLate: () => boolean): void {
  const methods = raw as unknown as Record<string, Method>;
  for (const name of METHODS) {
    const own = methods[name];
    if (own !== undefined) {
      const value: Method = (...parameters) =>
        isLate() ? raw : Reflect.apply(own, raw, parameters);
      Object.defineProperty(raw, name, { value, configurable: true, writable: true });
    }
  }
}
