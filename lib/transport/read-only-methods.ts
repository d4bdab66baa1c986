import type { Context } from '../context/context.js';
import type { ContextRegistry } from '../context/context-registry.js';
import type { RouteSettings } from './route-settings.js';

/**
 * Makes the transactions of a request read-only because of its HTTP method. Left alone are connections
 * for which a decorator or the options set `readOnly`, and transactions that a guard has begun.
 */
export function makeReadOnly(
  context: Context,
  registry: ContextRegistry,
  { transactions }: Pick<RouteSettings, 'transactions'>,
): void {
  for (const { name, transactionOptions } of registry.connections.all) {
    const isSet =
      transactionOptions.transaction?.readOnly !== undefined ||
      transactions.some(
        ({ connection, settings }) => connection === name && settings.readOnly !== undefined,
      );
    if (!isSet && context.existing(name)?.hasBegun !== true) {
      context.configure(name, { readOnly: true });
    }
  }
}
