import { ContextRegistry } from '../../lib/context/context-registry.js';
import { RawClient } from '../support/raw-client.js';
import type { AdapterName } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';
import { record, useFaultDatabase } from './support/describe-faults.js';
import { expectClosing, expectIdle, expectSaved, expectServing } from './support/expectations.js';
import type { Saved } from './support/judge.js';
import { IS_FULL, TIMES } from './support/times.js';
import type { Answer, LibraryWorld } from './support/world.js';

/** Where a request is as its client leaves. */
const STAGES = ['before the handler', 'between statements', 'during a statement', 'during COMMIT'];
type Kind = 'promise' | 'observable' | 'eager';
type OnDisconnect = 'finish' | 'rollback';

/** What such a request may have saved; its client is gone, so no answer can be false. */
function savedOf(stage: string, kind: Kind, onDisconnect: OnDisconnect): Saved {
  if (stage === 'during COMMIT') {
    return 'all';
  }
  if (kind === 'promise') {
    return onDisconnect === 'finish' ? 'all' : 'nothing';
  }
  // Nest subscribes after the guards, and then finds out that nobody is there, or does not.
  return stage === 'before the handler' && onDisconnect === 'finish' ? 'all or nothing' : 'nothing';
}

const cases = STAGES.flatMap((stage) =>
  (['promise', 'observable'] as const).flatMap((kind) =>
    (['finish', 'rollback'] as const).map((onDisconnect) => ({ stage, kind, onDisconnect })),
  ),
);
const overFastify = cases.filter(
  ({ kind, onDisconnect }) => kind === 'promise' && onDisconnect === 'rollback',
);
const inShort = cases.filter(
  ({ stage, kind }) =>
    stage !== 'before the handler' && (stage !== 'during COMMIT' || kind === 'promise'),
);

/** Holds each request at a stage until its client has left, and the server has noticed. */
function holdAt(world: LibraryWorld, stage: string): void {
  const { scenario, proxy } = world;
  const hold = async (key: string): Promise<void> => {
    scenario.point(`${key} reached`).resolve();
    await scenario.point(`${key} may go on`).promise;
  };
  scenario.beforeHandler = stage === 'before the handler' ? hold : undefined;
  scenario.handler = async (work) => {
    await work.write('first');
    if (stage === 'between statements') {
      await hold(work.key);
    }
    await work.session.execute(`select 'in the middle of ${work.key}'`);
    await work.write('second');
  };
  const keys = new Map<number, string>();
  proxy.onStatement = async (sql, connection) => {
    const [, key] = /(key-\d+)/.exec(sql) ?? [];
    if (key !== undefined) {
      keys.set(connection, key);
    }
    const isHere =
      stage === 'during COMMIT'
        ? sql === 'commit'
        : stage === 'during a statement' && sql.includes('in the middle of');
    if (isHere) {
      await hold(keys.get(connection)!);
    }
  };
}

async function leave(world: LibraryWorld, kind: Kind, key: string): Promise<Answer> {
  const client = await RawClient.get(`${world.url}/${kind}/${key}`);
  await world.scenario.point(`${key} reached`).promise;
  await client.leave();
  await world.scenario.point(`${key} gone`).promise;
  world.scenario.point(`${key} may go on`).resolve();
  return { key, status: 0, value: undefined, errorBody: undefined };
}

describe.each([
  ['express', IS_FULL ? cases : inShort],
  ['fastify', IS_FULL ? overFastify : overFastify.slice(1, 2)],
] as const satisfies readonly (readonly [AdapterName, typeof cases])[])(
  'faults: the client leaves, over %s',
  (adapter, own) => {
    const current = useFaultDatabase();

    it.each(own)(
      'F1, S4: $stage, $kind handler ($onDisconnect)',
      async ({ stage, kind, onDisconnect }) => {
        const world = await current.start({ adapter, options: { onDisconnect } });
        holdAt(world, stage);
        const answers = await Promise.all(
          Array.from({ length: TIMES }, (_, index) => leave(world, kind, `key-${index}`)),
        );
        await waitFor(() => world.app.get(ContextRegistry).runningCount === 0, {
          what: 'all contexts to end',
        });
        world.proxy.onStatement = undefined;
        await expectIdle(world);
        const saved = savedOf(stage, kind, onDisconnect);
        await record(world, `client gone ${stage}, ${kind} (${onDisconnect}), ${adapter}`, answers);
        await expectSaved(world, answers, saved);
        await expectServing(world);
        await expectClosing(world);
      },
    );
  },
);

// Nobody subscribes to what such a handler returns, so its SessionClosedError would be an unhandled
// rejection. With `finish` it is started all the same, and has to use defer(): see docs/http.md.
describe('faults: the client leaves before a handler that begins its work at once', () => {
  const current = useFaultDatabase();

  it('F1, S4: before the handler, eager Observable (rollback): no unhandled rejection', async () => {
    const world = await current.start({ options: { onDisconnect: 'rollback' } });
    holdAt(world, 'before the handler');
    await leave(world, 'eager', 'key-0');
    await waitFor(() => world.app.get(ContextRegistry).runningCount === 0, {
      what: 'all contexts to end',
    });
    await expectServing(world);
    expect(world.scenario.unheard).toEqual([]);
  });
});
