import { logReporters } from '../module/log-reporters.js';
import type { DecoratedCall } from './managed-method.js';

/** The metadata of `@OnWorkerEvent()` and `@OnQueueEvent()` of `@nestjs/bullmq`. */
const LISTENER_KEYS = ['bullmq:worker_events_metadata', 'bullmq:queue_events_metadata'];

// Nest's own metadata key; `test/e2e/nest-surface.spec.ts` fails when an upgrade changes it.
export const GATEWAY_METADATA = 'websockets:is_gateway';

const GATEWAY_HOOKS: ReadonlySet<string | symbol> = new Set([
  'afterInit',
  'handleConnection',
  'handleDisconnect',
]);

/**
 * Reports the error of a method whose promise is dropped by what calls it, an event emitter or Nest for the
 * hooks of a gateway: the end of its context may fail where the method itself cannot, and Node would end the
 * process. A caller that does wait gets the error as well.
 *
 * @returns `ended` itself
 */
export function reportOfListener(ended: Promise<unknown>, call: DecoratedCall): Promise<unknown> {
  if (isListener(call)) {
    ended.catch((error: unknown) => logReporters.report(`${call.place} failed`, error));
  }
  return ended;
}

function isListener({ decorated, owner, key }: DecoratedCall): boolean {
  return (
    LISTENER_KEYS.some((name) => Reflect.hasOwnMetadata(name, decorated)) ||
    (GATEWAY_HOOKS.has(key) && Reflect.hasMetadata(GATEWAY_METADATA, owner))
  );
}
