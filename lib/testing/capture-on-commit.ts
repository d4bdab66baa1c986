import type { HookCallback } from '../context/hook-calls.js';
import { DEFAULTS } from '../options/defaults.js';
import { TestIsolationError } from './errors.js';
import { TestRun } from './test-run.js';
import { registryOf, type TestTarget } from './test-target.js';

/** Options of {@link captureOnCommit}. */
export interface CaptureOptions {
  /**
   * Whether the callbacks are run, in their order, when the work is done.
   * @defaultValue false
   */
  readonly execute?: boolean;
}

/**
 * Keeps the `onCommit` callbacks of all contexts that commit while `work` runs, instead of running
 * them; also those of the context that the caller is in (a {@link TestContext}, `dbContext.run()`),
 * which may never commit. Callbacks that were discarded with a rollback are not among them. It ends with
 * the test, also where `work` goes on, and leaves alone what belongs to other tests at the same time.
 *
 * @param work the code whose commits are watched
 * @returns the callbacks, in the order in which they were due. Each runs in a context of its own, and
 *   rejects with the error of the callback
 * @throws what `work` throws, or, with `execute`, a callback
 * @throws {@link TestIsolationError} with `execute`: the test has ended that it was called in
 * @publicApi
 */
export async function captureOnCommit(
  app: TestTarget,
  work: () => unknown,
  { execute = DEFAULTS.captureOnCommit.execute }: CaptureOptions = {},
): Promise<(() => Promise<unknown>)[]> {
  const registry = registryOf(app);
  const captured: (() => Promise<unknown>)[] = [];
  const test = TestRun.current(registry);
  const keep = (callback: HookCallback): void => {
    captured.push(async () => {
      if (test?.isOver === true) {
        throw new TestIsolationError(
          registry.connections.all[0]!.name,
          'a callback that captureOnCommit() has kept was to run after its test had ended.',
        );
      }
      return registry.runApart(callback, 'an onCommit hook');
    });
  };
  const isMine = TestRun.belonging(registry);
  const detach = registry.attach({
    runHook: (kind, callback, run) => {
      if (kind !== 'onCommit' || !isMine()) {
        return run();
      }
      keep(callback);
      return Promise.resolve();
    },
  });
  const release = TestRun.stopAtEnd(registry, detach);
  try {
    await work();
    registry.active()?.takeHooks('onCommit').forEach(keep);
    if (execute) {
      // A callback may lead to another commit, whose callbacks are added to the list meanwhile.
      for (const callback of captured) {
        await callback();
      }
    }
  } finally {
    release();
  }
  return captured;
}
