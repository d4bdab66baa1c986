import { deferred } from './deferred.js';
import type { WireProxy } from './wire-proxy.js';

/** A statement that a proxy keeps back until it is released. */
export interface HeldStatement {
  /** Resolves when the statement has come to the proxy. */
  readonly reached: Promise<void>;
  readonly release: () => void;
}

/** Keeps back each statement with this text on its way to the server. */
export function holdStatement(
  proxy: Pick<WireProxy, 'onStatement'>,
  statement: string,
): HeldStatement {
  const reached = deferred();
  const gate = deferred();
  proxy.onStatement = (sql) => {
    if (sql === statement) {
      reached.resolve();
      return gate.promise;
    }
    return undefined;
  };
  return { reached: reached.promise, release: () => gate.resolve() };
}
