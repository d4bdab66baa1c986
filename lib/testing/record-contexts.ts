import { AssertionError } from 'node:assert';

import { contextEnd } from '../telemetry/channels.js';
import { TestRun } from './test-run.js';
import { registryOf, type TestTarget } from './test-target.js';
import { whileListening } from './while-listening.js';

/** How a context ended. */
export interface EndedContext {
  readonly outcome: 'committed' | 'rolled-back';
  /** Names of the connections that it had sessions of, in the order of their first use. */
  readonly connections: readonly string[];
}

/**
 * Runs `work`, and records how the contexts that ended meanwhile did so, in that order: of requests, of
 * `dbContext.run()` and `runInNewContext()`, and of hooks. Sessions in no context are not recorded. It ends
 * with the test, also where `work` goes on, and leaves out what belongs to other tests at the same time.
 *
 * @throws what `work` throws
 * @publicApi
 */
export async function recordContexts(
  app: TestTarget,
  work: () => unknown,
): Promise<readonly EndedContext[]> {
  const ended: EndedContext[] = [];
  const registry = registryOf(app);
  const { application } = registry;
  const isMine = TestRun.belonging(registry);
  await whileListening(
    registry,
    (to) =>
      to.listen(contextEnd, ({ context, outcome, connections }) => {
        if (context.application === application && !context.isDetached && isMine()) {
          ended.push({ outcome, connections });
        }
      }),
    work,
  );
  return ended;
}

/**
 * Runs `work`, and demands that every context that ended meanwhile was committed, and one did.
 *
 * @throws AssertionError one was rolled back, or none ended
 * @throws what `work` throws
 * @publicApi
 */
export async function expectCommitted(app: TestTarget, work: () => unknown): Promise<void> {
  await expectOutcome(app, work, 'committed');
}

/**
 * Runs `work`, and demands that every context that ended meanwhile was rolled back, and one did.
 *
 * @throws AssertionError one was committed, or none ended
 * @throws what `work` throws
 * @publicApi
 */
export async function expectRolledBack(app: TestTarget, work: () => unknown): Promise<void> {
  await expectOutcome(app, work, 'rolled-back');
}

async function expectOutcome(
  app: TestTarget,
  work: () => unknown,
  expected: EndedContext['outcome'],
): Promise<void> {
  const ended = await recordContexts(app, work);
  if (ended.length === 0 || ended.some(({ outcome }) => outcome !== expected)) {
    const seen = ended.map(
      ({ outcome, connections }, index) =>
        `  ${index + 1}. ${outcome} (${connections.join(', ') || 'no session'})`,
    );
    throw new AssertionError({
      message: [
        `Expected every context to be ${expected}, and at least one to end. Ended:`,
        ...(seen.length === 0 ? ['  none'] : seen),
      ].join('\n'),
      actual: ended.map(({ outcome }) => outcome),
      expected: [expected],
      operator: 'expectOutcome',
      stackStartFn: expectOutcome,
    });
  }
}
