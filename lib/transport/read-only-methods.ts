import type { Context } from '../context/context.js';
import type { ContextRegistry } from '../context/context-registry.js';
import type { RouteSettings } from './route-settings.js';

/**
 * Makes the transactions of a request read-only because of its method, where nobody has said otherwise:
 * neither a decorator nor the connection, nor a guard that has begun one.
 */
export function makeReadOnly(
  container: Context,
  host: ContextRegistry,
  { transactions }: RouteSettings,
): void {
  for (const { name, transactionOptions } of host.connections.all) {
    const isSaid =
      transactionOptions.transaction?.readOnly !== undefined ||
      transactions.some(
        ({ connection, settings }) => connection === name && settings.readOnly !== undefined,
      );
    if (!isSaid && container.existing(name)?.hasBegun !== true) {
      container.configure(name, { readOnly: true });
    }
  }
}
