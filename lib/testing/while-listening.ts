import type { ContextRegistry } from '../context/context-registry.js';
import { Subscriptions } from '../telemetry/subscriptions.js';
import { TestRun } from './test-run.js';

/**
 * Runs `work` while a recorder listens, until the test ends at the latest. A recorder that fails fails the call: it
 * has not seen everything, and the code that its events are about has nothing to do with it.
 *
 * @param listen subscribes to channels
 * @throws what `work` throws, or else the first error of a listener
 */
export async function whileListening(
  registry: ContextRegistry,
  listen: (to: Subscriptions) => void,
  work: () => unknown,
): Promise<void> {
  const failures: unknown[] = [];
  const subscriptions = new Subscriptions((error) => failures.push(error));
  const stop = TestRun.stopAtEnd(registry, () => subscriptions.end());
  listen(subscriptions);
  try {
    await work();
  } finally {
    stop();
  }
  if (failures.length > 0) {
    throw failures[0];
  }
}
