import {
  captureOnCommit,
  expectCommitted,
  expectStatements,
  recordContexts,
} from 'nestjs-db-context/testing';

import { concurrentBlock } from '../support/concurrent-block.js';
import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import type { RunnerHooks } from '../support/runner-hooks.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

describe('T1: captureOnCommit() and the recorders in concurrent tests', () => {
  let world: TestWorld;
  let hooks: RunnerHooks;
  let runTest: (body: () => unknown) => Promise<void>;

  beforeAll(async () => {
    world = await startWorld({ poolMax: 2 }, { controllers: [] });
    ({ hooks, runTest } = concurrentBlock(() => world.app));
    await hooks.run('beforeAll');
  });
  afterAll(async () => {
    await hooks.run('afterAll');
    await world.close();
  });

  const ran: string[] = [];
  const commits = (text: string): Promise<void> =>
    world.dbContext.run(async () => {
      await world.session().insert(Note, { text });
      world.dbContext.onCommit(() => ran.push(text));
    });

  it('look at the test that they are called in, while another one commits', async () => {
    const isWatching = [deferred(), deferred()];
    const hasCommitted = deferred();
    const watching = runTest(async () => {
      const captured = await captureOnCommit(world.app, async () => {
        isWatching[0]!.resolve();
        await isWatching[1]!.promise;
        await commits('first');
        const outcomes = await recordContexts(world.app, async () => {
          await expect(expectCommitted(world.app, () => hasCommitted.promise)).rejects.toThrow(
            'Ended:\n  none',
          );
          await expectStatements(world.app, 0, () => undefined);
        });
        expect(outcomes).toEqual([]);
      });
      expect(captured).toHaveLength(1);
    });
    await isWatching[0]!.promise;
    await runTest(async () => {
      const captured = await captureOnCommit(world.app, async () => {
        isWatching[1]!.resolve();
        await expectStatements(world.app, 1, () => commits('second'));
      });
      expect(captured).toHaveLength(1);
      await commits('third');
      hasCommitted.resolve();
    });
    await watching;
    expect(ran).toEqual(['third']);
  });
});
