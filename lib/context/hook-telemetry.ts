import { hookEnd } from '../telemetry/channels.js';
import { errorInfoOf } from '../telemetry/error-info.js';
import type { HookEvent } from '../telemetry/payloads.js';

/** Runs a hook and publishes its end; called where somebody listens. */
export async function publishedHook(
  origin: string,
  kind: HookEvent['kind'],
  callback: () => unknown,
): Promise<unknown> {
  const since = performance.now();
  const publish = (failure?: { readonly error: unknown }): void =>
    hookEnd.publish({
      origin,
      kind,
      durationMs: performance.now() - since,
      error: failure && errorInfoOf(failure.error),
    });
  try {
    const result = await callback();
    publish();
    return result;
  } catch (error) {
    publish({ error });
    throw error;
  }
}
