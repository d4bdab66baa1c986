import { setTimeout as sleep } from 'node:timers/promises';

import { waitFor } from '../support/wait-for.js';
import type { FaultDatabase } from './fault-database.js';
import { TIMES, type Fault } from './fault.js';
import { judge, type Verdict } from './judge.js';
import { POOL_SIZE } from './setup.js';
import type { SideName } from './sides.js';
import { startWorld, type Answer, type World } from './world.js';

/** What one application did in one fault. */
export interface Figures extends Verdict {
  /** Connections that are still checked out when nothing happens any more. */
  readonly slotsLost: number;
  /** Callers without an answer within the limit. */
  readonly hanging: number;
  /** What the others were told, with how often. */
  readonly told: Readonly<Record<string, number>>;
  /** Of the next 5 requests, how many were served. */
  readonly nextServed: number;
  readonly closes: boolean;
  /** Errors that nobody heard, each of which ends a process by default. */
  readonly unheard: number;
  /** What else the fault counts. */
  readonly counted: readonly [number, string] | undefined;
}

const SETTLE_MS = 2_500;
const NEXT_LIMIT_MS = 2_500;
const CLOSE_LIMIT_MS = 4_000;

/** Has a fault happen to 20 requests at once over a pool of 5, and looks at what is left. */
export async function measure(
  fault: Fault,
  side: SideName,
  faultDatabase: FaultDatabase,
  errors: UnheardErrors,
): Promise<Figures> {
  await faultDatabase.clear();
  const unheardBefore = errors.count;
  const world = await startWorld(faultDatabase, fault, side);
  await fault.arrange?.(world);
  world.scenario.handler = fault.handler(world);

  let isOver = false;
  const asked = askAll(world, fault).finally(() => {
    isOver = true;
  });
  const others = fault.meanwhile?.(world, () => isOver) ?? [];
  const answers = await asked;
  const bystanders = await others;
  await within(world.scenario.late(), SETTLE_MS);
  await fault.stop?.(world);
  await within(untilIdle(world), SETTLE_MS);
  const slotsLost = world.checkedOut();
  const verdict = judge(await faultDatabase.rows(), [...answers, ...bystanders], world.scenario);
  const counted = fault.count?.(world, answers);
  const nextServed = await serveNext(world);
  const closes = await within(world.close(), CLOSE_LIMIT_MS);
  const unheard = errors.count - unheardBefore;
  await world.proxy.stop();
  return {
    ...verdict,
    slotsLost,
    hanging: answers.filter(({ status }) => status === undefined).length,
    told: tally(answers),
    nextServed,
    closes,
    unheard,
    counted,
  };
}

function askAll(world: World, { ask }: Fault): Promise<Answer[]> {
  const keys = Array.from({ length: TIMES }, (_, index) => `key-${index}`);
  return Promise.all(keys.map((key) => ask?.(world, key) ?? world.ask(key)));
}

async function untilIdle(world: World): Promise<void> {
  await waitFor(() => world.checkedOut() === 0, { what: 'the slots', timeoutMs: SETTLE_MS });
}

async function serveNext(world: World): Promise<number> {
  world.scenario.handler = (work) => work.write('row');
  const keys = Array.from({ length: POOL_SIZE }, (_, index) => `next-${index}`);
  const answers = await Promise.all(keys.map((key) => world.ask(key, NEXT_LIMIT_MS)));
  return answers.filter(({ status }) => status === 200).length;
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
  for (const { status, error } of answers) {
    if (status !== undefined) {
      const told = error === undefined ? String(status) : `${status} ${error}`;
      counts[told] = (counts[told] ?? 0) + 1;
    }
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
