import type { CompiledStatement, KyselyClient } from './kysely-shapes.js';

type Observe = (sql: string) => void;

/** Kysely's `QueryExecutor`, as an object whose methods are called with what they are given. */
type Executor = ReturnType<KyselyClient['getExecutor']>;

/** What gives Kysely an executor like its own one; the rest of it is kept in private fields. */
interface Copyable extends KyselyClient {
  withPlugin(plugin: object): KyselyClient;
}

const SENDS: ReadonlySet<PropertyKey> = new Set(['executeQuery', 'stream']);
const COPIES: ReadonlySet<PropertyKey> = new Set([
  'withPlugin',
  'withPlugins',
  'withPluginAtFront',
  'withoutPlugins',
]);

/**
 * A copy of a Kysely instance that calls `observe` with each statement before it is sent, but for those of
 * its transactions. `test/e2e/kysely-surface.spec.ts` fails when an upgrade copies in another way.
 */
export function observedKysely(client: KyselyClient, observe: Observe): KyselyClient {
  const executor = client.getExecutor();
  const observed = observedExecutor(executor, observe);
  // Kysely takes the executor of the copy that it makes from here.
  Object.defineProperty(executor, 'withPlugin', { value: () => observed, configurable: true });
  try {
    return (client as Copyable).withPlugin({});
  } finally {
    delete (executor as Partial<Record<'withPlugin', unknown>>).withPlugin;
  }
}

/** A proxy, because the class of the executor keeps private state that a derived object could not reach. */
function observedExecutor(executor: Executor, observe: Observe): Executor {
  return new Proxy(executor, {
    get: (target, property) => {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== 'function') {
        return value;
      }
      const method = value.bind(target) as (...args: unknown[]) => unknown;
      if (SENDS.has(property)) {
        return (statement: CompiledStatement, ...rest: unknown[]) => {
          observe(statement.sql);
          return method(statement, ...rest);
        };
      }
      return COPIES.has(property)
        ? (...args: unknown[]) => observedExecutor(method(...args) as Executor, observe)
        : method;
    },
  });
}
