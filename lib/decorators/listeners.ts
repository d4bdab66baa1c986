import { logReporters } from '../module/log-reporters.js';

/** The metadata of `@OnWorkerEvent()` and `@OnQueueEvent()` of `@nestjs/bullmq`. */
const LISTENER_KEYS = ['bullmq:worker_events_metadata', 'bullmq:queue_events_metadata'];

/**
 * Reports the error of a listener that is called by an event emitter, which drops its promise: the end of
 * its context may fail where the method itself cannot, and Node would end the process. A caller that does
 * wait gets the error as well.
 *
 * @param method with its metadata
 * @returns `ended` itself
 */
export function reportOfListener(
  ended: Promise<unknown>,
  place: string,
  method: object,
): Promise<unknown> {
  if (LISTENER_KEYS.some((key) => Reflect.hasOwnMetadata(key, method))) {
    ended.catch((error: unknown) => logReporters.report(`${place} failed`, error));
  }
  return ended;
}
