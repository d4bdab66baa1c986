import { ContextRegistry } from '../../lib/context/context-registry.js';
import type { AdapterName } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';
import { record, useFaultDatabase } from './support/describe-faults.js';
import { expectClosing, expectSaved, expectServing } from './support/expectations.js';
import type { Saved } from './support/judge.js';
import { IS_FULL, TIMES } from './support/times.js';
import { POOL_SIZE, type Answer, type LibraryWorld } from './support/world.js';

/** Where the requests are as the application is closed. */
const STAGES = [
  'before the handler',
  'waiting for a connection',
  'between statements',
  'during a statement',
  'during COMMIT',
] as const;
type Stage = (typeof STAGES)[number];

interface Shutdown {
  readonly stage: Stage;
  /** Whether the requests end within `shutdownTimeoutMs`. */
  readonly isInTime: boolean;
  readonly answers: readonly string[];
  readonly saved: Saved;
}

const inTime = STAGES.map((stage): Shutdown => ({
  stage,
  isInTime: true,
  // Without a context yet, a request is a new one, and the server may cut it off.
  answers: stage === 'before the handler' ? ['503', '0'] : ['200'],
  saved: stage === 'before the handler' ? 'nothing' : 'all',
}));
const tooLate = STAGES.slice(1).map((stage): Shutdown => ({
  stage,
  isInTime: false,
  answers: stage === 'during COMMIT' ? ['200', '0'] : ['503', '0'],
  saved: stage === 'during COMMIT' ? 'all' : 'nothing',
}));

/** Holds what it is given, until it is let go. */
function holdAt(world: LibraryWorld, stage: Stage, reached: () => void, gate: Promise<void>): void {
  const { scenario, proxy } = world;
  const hold = async (): Promise<void> => {
    reached();
    await gate;
  };
  scenario.beforeHandler = stage === 'before the handler' ? hold : undefined;
  scenario.handler = async (work) => {
    await work.write('first');
    if (stage === 'between statements' || stage === 'waiting for a connection') {
      await hold();
    }
    await work.session.execute(`select 'in the middle'`);
    await work.write('second');
  };
  proxy.onStatement = async (sql) => {
    const isHere =
      stage === 'during COMMIT'
        ? sql === 'commit'
        : stage === 'during a statement' && sql.includes('in the middle');
    if (isHere) {
      await hold();
    }
  };
}

describe.each<AdapterName>(['express', 'fastify'])('faults: shutdown over %s', (adapter) => {
  const current = useFaultDatabase();
  const all = [...inTime, ...tooLate];
  const own =
    adapter === 'express' && IS_FULL
      ? all
      : all.filter(({ stage }) => stage === 'between statements');

  it.each(own)(
    'F1, H3: $stage, ended in time: $isInTime',
    async ({ stage, isInTime, answers: allowed, saved }) => {
      const { faultDatabase } = current;
      // More requests than the pool serves at a time would never all reach a later stage.
      const times = stage === 'waiting for a connection' ? TIMES + POOL_SIZE : POOL_SIZE;
      for (let round = 0; round < Math.max(1, Math.floor(TIMES / times)); round++) {
        await faultDatabase.clear();
        const world = await current.start({
          adapter,
          limits: { endTimeoutMs: isInTime ? 5_000 : 1_000 },
          options: { shutdownTimeoutMs: isInTime ? 5_000 : 300 },
        });
        let reached = 0;
        const gate = world.scenario.point('gate');
        holdAt(world, stage, () => reached++, gate.promise);
        const asked = Promise.all(
          Array.from({ length: times }, (_, index) => world.ask(`key-${index}`)),
        );
        await waitFor(() => reached >= Math.min(times, POOL_SIZE), { what: 'the stage' });
        if (stage === 'waiting for a connection') {
          await waitFor(() => world.pool().waiting === TIMES, { what: 'the others to wait' });
        }
        const closing = closeWithin(world, 6_000);
        // A COMMIT that is under way is let go on, up to its own limit.
        if (isInTime || stage === 'during COMMIT') {
          await waitFor(() => isDraining(world), { what: 'the drain to begin' });
          gate.resolve();
        }
        await closing;
        gate.resolve();
        const answers: Answer[] = await asked;
        await faultDatabase.until(
          'true',
          'no connection of the application',
          (count) => count === 0,
        );
        await record(world, `shutdown ${stage}, in time: ${isInTime}, ${adapter}`, answers);
        expect(answers.filter(({ status }) => !allowed.includes(String(status)))).toEqual([]);
        await expectSaved(world, answers, saved);
      }
      const next = await current.start({ adapter });
      await expectServing(next);
      await expectClosing(next);
    },
    40_000,
  );
});

function isDraining(world: LibraryWorld): boolean {
  return world.app.get(ContextRegistry).shutdown.hasBegun;
}

async function closeWithin(world: LibraryWorld, limitMs: number): Promise<void> {
  const startedAt = performance.now();
  await world.app.close();
  expect(performance.now() - startedAt).toBeLessThan(limitMs);
}
