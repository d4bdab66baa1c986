import type { HookCallback } from '../context/hooks.js';
import { DEFAULTS } from '../options/defaults.js';
import { hostOf, type TestTarget } from './test-target.js';

/** Options of {@link captureOnCommit}. */
export interface CaptureOptions {
  /**
   * Whether the callbacks are run when the work is done, in their order.
   * @defaultValue false
   */
  readonly execute?: boolean;
}

/**
 * Keeps the `onCommit` callbacks of all contexts that commit while `work` runs, instead of running
 * them; also those of the context that the caller is in (a {@link TestContext}, `dbContext.run()`),
 * which may never commit. Callbacks that were discarded with a rollback are not among them.
 *
 * @param work what to do
 * @returns the callbacks, in the order in which they were due. Each runs in a context of its own, and
 *   throws what it throws
 * @throws what `work` throws, or, with `execute`, a callback
 * @publicApi
 */
export async function captureOnCommit(
  app: TestTarget,
  work: () => unknown,
  { execute = DEFAULTS.captureOnCommit.execute }: CaptureOptions = {},
): Promise<(() => Promise<unknown>)[]> {
  const host = hostOf(app);
  const captured: (() => Promise<unknown>)[] = [];
  const keep = (callback: HookCallback): void => {
    captured.push(() => host.runApart(callback, 'an onCommit hook'));
  };
  const release = host.attach({
    runHook: (kind, callback, run) => {
      if (kind !== 'onCommit') {
        return run();
      }
      keep(callback);
      return Promise.resolve();
    },
  });
  try {
    await work();
    host.active()?.takeHooks('onCommit').forEach(keep);
    if (execute) {
      // A callback may lead to another commit, whose callbacks are then added while this goes on.
      for (const callback of captured) {
        await callback();
      }
    }
  } finally {
    release();
  }
  return captured;
}
