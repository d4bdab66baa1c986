import { Cluster } from '../../sample/starter/cluster.js';
import { waitFor } from '../support/wait-for.js';
import { record } from './support/describe-faults.js';
import { expectClosing, expectIdle, expectSaved, expectServing } from './support/expectations.js';
import { FaultDatabase } from './support/fault-database.js';
import type { Handler } from './support/scenario.js';
import { IS_FULL, TIMES } from './support/times.js';
import { SERVER_SETTINGS } from './support/wire-kind.js';
import { startLibraryWorld, type LibraryWorld } from './support/world.js';

/** Where the requests are as the server goes down; those that wait for a connection too. */
const STAGES: readonly (readonly [
  string,
  (reached: () => void, gate: Promise<void>) => Handler,
])[] = [
  [
    'between statements',
    (reached, gate) => async (work) => {
      await work.write('first');
      reached();
      await gate;
      await work.write('second');
    },
  ],
  [
    'during a statement',
    (reached) => async (work) => {
      await work.write('first');
      reached();
      await work.session.execute('select pg_sleep(60)');
    },
  ],
  [
    'during COMMIT',
    (reached) => async (work) => {
      await work.write('sleeps-at-commit');
      reached();
    },
  ],
];

const ERRORS = [
  'DriverException',
  'TransactionAbortedError',
  'CommitOutcomeUnknownError',
  'UnexpectedRollbackError',
  'ConnectionFailedError',
];

describe('faults: the server restarts at once', () => {
  const sharedUrl = process.env['DB_CONTEXT_TEST_URL'];
  let server: Cluster;
  let faultDatabase: FaultDatabase;
  let world: LibraryWorld;

  beforeAll(async () => {
    server = await Cluster.start({
      standbys: 0,
      settings: ['max_connections=300', ...SERVER_SETTINGS],
    });
    process.env['DB_CONTEXT_TEST_URL'] = server.primaryUrl;
    faultDatabase = await FaultDatabase.open();
  });
  beforeEach(() => faultDatabase.clear());
  afterEach(() => world.close());
  afterAll(async () => {
    await faultDatabase.close();
    await server.stop();
    process.env['DB_CONTEXT_TEST_URL'] = sharedUrl;
  });

  it.each(IS_FULL ? STAGES : STAGES.slice(0, 1))(
    'F1, L1: %s: all get an error, the next are served with no restart of ours',
    async (stage, handlerOf) => {
      world = await startLibraryWorld(faultDatabase, {
        acquireTimeoutMs: 2_000,
        endTimeoutMs: 2_000,
      });
      let reached = 0;
      const gate = world.scenario.point('down');
      world.scenario.handler = handlerOf(() => reached++, gate.promise);
      const asked = Promise.all(
        Array.from({ length: TIMES }, (_, index) => world.ask(`key-${index}`)),
      );
      await waitFor(() => reached >= Math.min(TIMES, 5), { what: 'the stage' });
      if (stage === 'during COMMIT') {
        await faultDatabase.until(
          `query = 'commit' and state = 'active'`,
          'the COMMITs',
          (count) => count >= Math.min(TIMES, 5),
        );
      }
      await server.kill('primary');
      gate.resolve();
      const answers = await asked;
      await server.restart('primary');
      await expectIdle(world);
      await record(world, `server restart ${stage}`, answers);
      const outcomes = answers.map(({ status, errorBody }) => `${status} ${errorBody?.error}`);
      expect(
        outcomes.filter((each) => !ERRORS.map((error) => `500 ${error}`).includes(each)),
      ).toEqual([]);
      await expectSaved(world, answers, 'nothing');
      await expectServing(world);
      await expectClosing(world);
    },
    40_000,
  );
});
