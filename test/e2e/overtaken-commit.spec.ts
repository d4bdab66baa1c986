/** A rollback that takes the place of a commit, which hangs in a hook: of a client that left, of a time limit. */
import { ContextTimeoutError } from 'nestjs-db-context';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { deferred } from '../support/deferred.js';
import { holdStatement } from '../support/hold-statement.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

const current = useWorld(() => startWorld({}, { contextTimeoutMs: 300 }), { hasLateWork: true });

it('C5, H3: hooks come after it, and so does the end of the context', async () => {
  const calls: string[] = [];
  const inHook = deferred();
  const rollback = holdStatement(current.world.proxy, 'rollback');
  const registry = current.world.app.get(ContextRegistry);
  const error = current
    .run(async () => {
      current.dbContext.onRollback(() => calls.push('onRollback'));
      current.dbContext.beforeCommit(async () => {
        inHook.resolve();
        await deferred().promise;
      });
      await current.insert('undone');
    })
    .catch((reason: unknown) => reason);
  await inHook.promise;
  await rollback.reached;
  // The commit is given up by now: this statement is asked for after it.
  await current.world.savedTexts();
  expect([calls, registry.runningCount]).toEqual([[], 1]);
  rollback.release();
  expect(await error).toBeInstanceOf(ContextTimeoutError);
  // The caller gets its error when time is over; the context ends when the server has answered.
  await waitFor(() => registry.runningCount === 0, { what: 'the context to end' });
  expect([calls, await current.world.savedTexts()]).toEqual([['onRollback'], []]);
});
