import { setTimeout as sleep } from 'node:timers/promises';

import type { FaultDatabase } from '../faults/support/fault-database.js';
import { injectFault, serveNext } from '../faults/support/inject-fault.js';
import { judge, type Violation } from '../faults/support/judge.js';
import type { Answer, World } from '../faults/support/world.js';
import { FakeServer } from '../support/fake-server.js';
import { waitFor } from '../support/wait-for.js';
import { ANSWER_LIMIT_MS, TIMES, type ComparedFault } from './compared-fault.js';
import { fakeDatabase } from './fake-database.js';
import { startComparedWorld, type SideName } from './compared-world.js';

/** What is wrong with what was saved, and with what the clients were answered. */
interface Verdict {
  /** Rows that a request wrote which succeeded, and that are not there. */
  readonly missing: number;
  /** Rows of requests that failed without saying that the outcome is unknown. */
  readonly ofFailed: number;
  /** Rows of work that was undone, or that came after the end of its transaction. */
  readonly inVain: number;
  /** How many of those lie in the transaction of another request. */
  readonly foreign: number;
  /** Requests whose answer is not true: a success for lost work, a failure for saved work. */
  readonly lied: number;
}

/** What one application did in one fault. */
export interface Figures extends Verdict {
  /** Connections that are still checked out when nothing happens any more. */
  readonly slotsLost: number;
  /** Callers without an answer within the limit. */
  readonly hanging: number;
  /** What the others were answered, with how often. */
  readonly answered: Readonly<Record<string, number>>;
  /** How many of the next 5 requests were served. */
  readonly nextServed: number;
  readonly closes: boolean;
  /** Errors without a listener, each of which ends a process by default. */
  readonly unheard: number;
  /** What else the fault counts. */
  readonly counted: readonly [number, string] | undefined;
}

const SETTLE_MS = 2_500;
const NEXT_LIMIT_MS = 2_500;
const CLOSE_LIMIT_MS = 4_000;

/** Has a fault happen to 20 requests at once over a pool of 5, and looks at what is left. */
export async function measure(
  fault: ComparedFault,
  side: SideName,
  faultDatabase: FaultDatabase,
  errors: UnheardErrors,
): Promise<Figures> {
  // An earlier application may still hold the table in a transaction that hangs.
  await faultDatabase.kill('xact_start is not null');
  await faultDatabase.clear();
  const unheardBefore = errors.count;
  const server = fault.misbehave === undefined ? undefined : await FakeServer.start();
  const database = server === undefined ? faultDatabase : fakeDatabase(faultDatabase, server);
  const world = await startComparedWorld(database, fault, side);
  if (server !== undefined) {
    fault.misbehave?.(server);
  }
  const kind = fault.unit === 'interceptor' ? 'observable' : 'promise';
  const { answers, others } = await injectFault(
    world,
    { ...fault, kind },
    { times: TIMES, limitMs: ANSWER_LIMIT_MS },
  );
  await within(world.scenario.late(), SETTLE_MS);
  server?.heal();
  await fault.heal?.(world);
  await within(untilIdle(world), SETTLE_MS);
  const slotsLost = world.pool().checkedOut;
  const rows = await database.rows();
  const verdict = count(judge(rows, [...answers, ...others], world.scenario, 'as known'));
  const counted = fault.count?.(world, answers);
  const next = await serveNext(world, { kind, limitMs: NEXT_LIMIT_MS });
  await fault.beforeClose?.(world);
  const closes = await within(world.closeApp(), CLOSE_LIMIT_MS);
  const unheard = errors.count - unheardBefore;
  await world.proxy.stop();
  await server?.stop();
  return {
    ...verdict,
    slotsLost,
    hanging: answers.filter(({ status }) => status === 0).length,
    answered: tally(answers),
    nextServed: next.filter(({ status }) => status === 200).length,
    closes,
    unheard,
    counted,
  };
}

function count(violations: readonly Violation[]): Verdict {
  const of = (what: Violation['what']): Violation[] =>
    violations.filter((violation) => violation.what === what);
  const inVain = new Set(of('in vain').map(({ text }) => text));
  const lied = [...of('missing'), ...of('of a failure')].map(({ key }) => key);
  return {
    missing: of('missing').length,
    ofFailed: of('of a failure').length,
    inVain: inVain.size,
    foreign: of('in a foreign transaction').filter(({ text }) => inVain.has(text)).length,
    lied: new Set(lied).size,
  };
}

async function untilIdle(world: World): Promise<void> {
  await waitFor(() => world.pool().checkedOut === 0, { what: 'the slots', timeoutMs: SETTLE_MS });
}

/** @returns whether it was fulfilled within the limit */
async function within(work: Promise<unknown>, limitMs: number): Promise<boolean> {
  const isDone = work.then(
    () => true,
    () => false,
  );
  return Promise.race([isDone, sleep(limitMs, false)]);
}

function tally(answers: readonly Answer[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status, errorBody } of answers.filter((answer) => answer.status !== 0)) {
    const what = errorBody === undefined ? String(status) : `${status} ${errorBody.origin}`;
    counts[what] = (counts[what] ?? 0) + 1;
  }
  return counts;
}

/** Keeps errors that nobody heard from ending the script, and counts them. */
export class UnheardErrors {
  count = 0;

  constructor() {
    process.on('uncaughtException', () => {
      this.count++;
    });
  }
}
