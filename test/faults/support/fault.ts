import { appendFileSync } from 'node:fs';

import type { DbContextOptions } from 'nestjs-db-context';

import type { AdapterName, TestAppOptions } from '../../support/test-app.js';
import { expectClosing, expectIdle, expectSaved, expectServing, type Saved } from './check.js';
import { FaultDatabase } from './fault-database.js';
import type { Handler } from './scenario.js';
import {
  IS_FULL,
  startFaultWorld,
  TIMES,
  type Answer,
  type FaultWorld,
  type Limits,
} from './world.js';

const TEST_LIMIT_MS = 40_000;

/** One row of a table of faults. */
export interface Fault {
  /** Begins with the promises that it proves. */
  readonly title: string;
  /** Much like another one: left out of the short form. So is what runs over Fastify. */
  readonly isVariant?: boolean;
  readonly adapter?: AdapterName;
  readonly limits?: Limits;
  readonly options?: DbContextOptions;
  /** Which of the handlers of `WorkController`. */
  readonly kind?: 'promise' | 'observable' | 'retried';
  /** Rather than all at once. */
  readonly oneByOne?: boolean;
  /** What each request does. */
  readonly handler: (world: FaultWorld) => Handler;
  /** Before the requests. */
  readonly arrange?: (world: FaultWorld) => unknown;
  /** While the requests are under way. */
  readonly meanwhile?: (world: FaultWorld, answers: Promise<Answer[]>) => Promise<unknown>;
  /** Ends the fault, before the application has to work again. */
  readonly heal?: (world: FaultWorld) => unknown;
  /** What each client may get: the status, and the class of the error. */
  readonly answers: readonly string[];
  readonly saved: Saved;
  /** More to look at, once all have been answered. */
  readonly afterwards?: (world: FaultWorld, answers: readonly Answer[]) => unknown;
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
  ): Promise<FaultWorld>;
} {
  let faultDatabase: FaultDatabase;
  let worlds: FaultWorld[] = [];

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
      const world = await startFaultWorld(faultDatabase, limits, {
        ...options,
        ...(adapter !== undefined && { adapter }),
      });
      worlds.push(world);
      return world;
    },
  };
}

/** Has a fault happen, and looks at everything that it may have left behind. */
async function runFault(world: FaultWorld, fault: Fault): Promise<void> {
  const { scenario } = world;
  await fault.arrange?.(world);
  scenario.handler = fault.handler(world);
  const requests = askAll(world, fault);
  await fault.meanwhile?.(world, requests);
  const answers = await requests;
  const seen = answers.map(describeAnswer);
  await fault.heal?.(world);
  await expectIdle(world);
  await record(world, fault.title, answers);
  expect(seen.filter((each) => !fault.answers.includes(each))).toEqual([]);
  await expectSaved(world, answers, fault.saved);
  await fault.afterwards?.(world, answers);
  await expectServing(world);
  await expectClosing(world);
}

async function askAll(world: FaultWorld, { kind, oneByOne = false }: Fault): Promise<Answer[]> {
  const keys = Array.from({ length: TIMES }, (_, index) => `key-${index}`);
  if (!oneByOne) {
    return Promise.all(keys.map((key) => world.ask(key, kind)));
  }
  const answers: Answer[] = [];
  for (const key of keys) {
    answers.push(await world.ask(key, kind));
  }
  return answers;
}

function describeAnswer({ status, errorBody }: Answer): string {
  return errorBody === undefined ? String(status) : `${status} ${errorBody.error}`;
}

/** One line for the table of what was seen, where somebody asks for it. */
export async function record(
  world: FaultWorld,
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
