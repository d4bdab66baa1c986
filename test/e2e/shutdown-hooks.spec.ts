import { deferred, type Deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

const SHUTDOWN_MS = 300;
/** The limit, what the end itself takes, and slow cores; less than one hook may take. */
const CLOSES_WITHIN_MS = SHUTDOWN_MS + 2_500;
const HOOK_MS = 8_000;

describe('app.close(), and hooks that do not return', () => {
  let world: TestWorld;
  let never: Deferred<void>;
  let log: LogRecorder;

  beforeEach(async () => {
    never = deferred();
    log = new LogRecorder();
    world = await startWorld(
      { drainTimeoutMs: 300 },
      { shutdownTimeoutMs: SHUTDOWN_MS, hookTimeoutMs: HOOK_MS },
    );
    world.app.useLogger(log);
  });
  afterEach(async () => {
    never.resolve();
    await world.close();
  });

  const closeInTime = async (): Promise<void> => {
    let isClosed = false;
    const closing = world.app.close().then(() => {
      isClosed = true;
    });
    await waitFor(() => isClosed, { what: 'app.close()', timeoutMs: CLOSES_WITHIN_MS });
    await closing;
  };
  const reports = (kind: string): string[] =>
    log
      .ofLibrary('error')
      .filter((line) => line.includes(`an ${kind} hook of dbContext.run() failed`));

  it('H3, C5: onCommit hooks hold it no longer than shutdownTimeoutMs, and each is run and in the log', async () => {
    const called: number[] = [];
    const run = world.dbContext.run(async () => {
      for (const index of [1, 2, 3, 4]) {
        world.dbContext.onCommit(() => {
          called.push(index);
          return index === 3 ? undefined : never.promise;
        });
      }
      await world.session().insert(Note, { text: 'committed' });
    });
    await waitFor(() => called.length === 1, { what: 'the first hook' });
    await closeInTime();
    await run;
    expect(called).toEqual([1, 2, 3, 4]);
    expect(reports('onCommit')).toHaveLength(3);
    // The first one is cut off with its own context, and the others are left to themselves.
    for (const line of reports('onCommit')) {
      expect(line).toMatch(
        /an onCommit hook in the context of dbContext\.run\(\) had run for \d+ ms as the time of the shutdown was over \(shutdownTimeoutMs\)/,
      );
    }
    expect(await world.savedTexts()).toEqual(['committed']);
  });

  it('H3, C5: nor do the onRollback hooks of a context that the shutdown ends', async () => {
    const called: number[] = [];
    const outcome = world.dbContext
      .run(async () => {
        for (const index of [1, 2, 3]) {
          world.dbContext.onRollback(() => {
            called.push(index);
            return never.promise;
          });
        }
        await world.session().insert(Note, { text: 'undone' });
        await never.promise;
      })
      .catch((error: unknown) => error);
    await waitFor(() => world.pool().checkedOut === 1, { what: 'the statement' });
    await closeInTime();
    expect(called).toEqual([1, 2, 3]);
    expect(reports('onRollback')).toHaveLength(3);
    never.resolve();
    await outcome;
    expect(await world.savedTexts()).toEqual([]);
  });
});
