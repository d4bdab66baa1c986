import { appendFileSync } from 'node:fs';

import type { DbContextOptions } from 'nestjs-db-context';

import type { AdapterName, TestAppOptions } from '../../support/test-app.js';
import { expectClosing, expectIdle, expectSaved, expectServing } from './expectations.js';
import { FaultDatabase } from './fault-database.js';
import { injectFault, type InjectedFault } from './inject-fault.js';
import type { Saved } from './judge.js';
import { IS_FULL, TIMES } from './times.js';
import { startLibraryWorld, type Answer, type LibraryWorld, type Limits } from './world.js';

const TEST_LIMIT_MS = 40_000;

/** One row of a table of faults; its title begins with the promises that it proves. */
export interface Fault extends InjectedFault<LibraryWorld> {
  /** Much like another one: left out of the short form. So is what runs over Fastify. */
  readonly isVariant?: boolean;
  readonly adapter?: AdapterName;
  readonly limits?: Limits;
  readonly options?: DbContextOptions;
  /** What each client may get: the status, and the class of the error. */
  readonly answers: readonly string[];
  readonly saved: Saved;
  /** More to look at, once all have been answered. */
  readonly afterwards?: (world: LibraryWorld, answers: readonly Answer[]) => unknown;
}

/** Declares the tests of a family of faults, on a database of its own. */
export function describeFaults(family: string, faults: readonly Fault[]): void {
  describe(`faults: ${family}`, () => {
    const current = useFaultDatabase();

    const own = faults.filter(
      ({ adapter, isVariant = false }) => IS_FULL || (adapter !== 'fastify' && !isVariant),
    );
    it.each(own.map((fault) => [fault.title, fault] as const))(
      '%s',
      async (_, fault) => {
        const world = await current.start(fault);
        await runFault(world, fault);
      },
      TEST_LIMIT_MS,
    );
  });
}

/** A database for the tests of the `describe` that it is called in, and one world for each of them. */
export function useFaultDatabase(): {
  readonly faultDatabase: FaultDatabase;
  start(
    fault: Pick<Fault, 'adapter' | 'limits'> & { options?: Partial<TestAppOptions> },
  ): Promise<LibraryWorld>;
} {
  let faultDatabase: FaultDatabase;
  let worlds: LibraryWorld[] = [];

  beforeAll(async () => {
    faultDatabase = await FaultDatabase.open();
  });
  beforeEach(() => faultDatabase.clear());
  afterEach(async () => {
    const open = worlds;
    worlds = [];
    for (const world of open) {
      await world.close();
    }
  });
  afterAll(() => faultDatabase.close());

  return {
    get faultDatabase() {
      return faultDatabase;
    },
    start: async ({ adapter, limits, options }) => {
      const world = await startLibraryWorld(faultDatabase, limits, {
        ...options,
        ...(adapter !== undefined && { adapter }),
      });
      worlds.push(world);
      return world;
    },
  };
}

/** Has a fault happen, and looks at everything that it may have left behind. */
async function runFault(world: LibraryWorld, fault: Fault): Promise<void> {
  const { answers } = await injectFault(world, fault, { times: TIMES });
  await fault.heal?.(world);
  await expectIdle(world);
  await record(world, fault.title, answers);
  expect(answers).toHaveLength(TIMES);
  expect(answers.map(describeAnswer).filter((each) => !fault.answers.includes(each))).toEqual([]);
  await expectSaved(world, answers, fault.saved);
  await fault.afterwards?.(world, answers);
  await expectServing(world);
  await expectClosing(world);
}

function describeAnswer({ status, errorBody }: Answer): string {
  return errorBody === undefined ? String(status) : `${status} ${errorBody.error}`;
}

/** One line for the table of what was seen, where somebody asks for it. */
export async function record(
  world: LibraryWorld,
  title: string,
  answers: readonly Answer[],
): Promise<void> {
  const file = process.env['DB_CONTEXT_FAULT_REPORT'];
  if (file === undefined) {
    return;
  }
  const counts: Record<string, number> = {};
  for (const each of answers.map(describeAnswer)) {
    counts[each] = (counts[each] ?? 0) + 1;
  }
  const messages = [...new Set(answers.map(({ errorBody }) => errorBody?.message))];
  const causes = [...new Set(answers.map(({ errorBody }) => errorBody?.cause))];
  const saved = (await world.faultDatabase.rows()).length;
  const line = { title, times: answers.length, counts, saved, messages, causes };
  appendFileSync(file, `${JSON.stringify(line)}\n`);
}
