/**
 * Measures the time of single calls, as a process: `single-calls.js <url> <rounds>`. It sends a list of
 * {@link CallFigures}.
 */
import { MikroORM, RequestContext, type EntityManager } from '@mikro-orm/core';
import { do_not_optimize, measure } from 'mitata';
import { DbContext, getConnectionToken, type DbConnection } from 'nestjs-db-context';

import { Account } from '../app/account.entity.js';
import { ormOptions } from '../app/orm.js';
import { spreadOf } from '../report/statistics.js';
import type { CallFigures } from './figures.js';
import { startContextApp } from './context-app.js';

type Call = () => unknown;

const [databaseUrl, roundsText] = process.argv.slice(2) as [string, string];
const rounds = Number(roundsText);
const ID = 7;
/** CPU time of one measurement, for each figure and round. */
const CPU_TIME_NS = rounds > 1 ? 200e6 : 10e6;

const app = await startContextApp(databaseUrl);
const dbContext = app.get(DbContext);
const { orm } = app.get<DbConnection>(getConnectionToken());

function calls(em: EntityManager): readonly (readonly [name: string, call: Call])[] {
  // The entity is put into the identity map without a statement, so that no transaction is open during
  // the measurement.
  em.merge(Account, { id: ID, owner: 'somebody', balance: 1 });
  return [
    ['isInTransaction()', () => em.isInTransaction()],
    ['getReference()', () => em.getReference(Account, ID)],
    ['create()', () => em.create(Account, { owner: 'new', balance: 0 }, { persist: false })],
    ['findOne(), from the identity map', () => em.findOne(Account, ID)],
  ];
}

/** The one call that the global entity manager is asked for most. */
function findOne(em: EntityManager): Call {
  em.merge(Account, { id: ID, owner: 'somebody', balance: 1 });
  return () => em.findOne(Account, ID);
}

/** Median of one call, in nanoseconds. */
async function timeOf(call: Call): Promise<number> {
  // mitata awaits the callbacks of a measurement that return a promise.
  const { p50 } = await measure(() => do_not_optimize(call()), { min_cpu_time: CPU_TIME_NS });
  return p50;
}

async function timeOfAsync(call: () => Promise<unknown>): Promise<number> {
  const { p50 } = await measure(async () => do_not_optimize(await call()), {
    min_cpu_time: CPU_TIME_NS,
  });
  return p50;
}

async function compare(name: string, session: Call, fork: Call): Promise<CallFigures> {
  const times = { session: [] as number[], fork: [] as number[] };
  const more: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const sides = [
      ['session', session],
      ['fork', fork],
    ] as const;
    for (const [side, call] of round % 2 === 0 ? sides : sides.toReversed()) {
      times[side].push(await timeOf(call));
    }
    more.push(times.session[round]! - times.fork[round]!);
  }
  return {
    name,
    sessionNs: spreadOf(times.session),
    forkNs: spreadOf(times.fork),
    moreNs: spreadOf(more),
  };
}

/** Compares two global entity managers, each in a request context of MikroORM's own. */
async function compareInRequests(
  name: string,
  { claimed, plain: other }: { readonly claimed: EntityManager; readonly plain: EntityManager },
): Promise<CallFigures> {
  // The one is called "default" and the other "plain", or one context could not hold both.
  return RequestContext.create([claimed, other], () =>
    compare(name, findOne(claimed), findOne(other)),
  );
}

async function alone(name: string, call: () => Promise<unknown>): Promise<CallFigures> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    times.push(await timeOfAsync(call));
  }
  return { name, sessionNs: spreadOf(times) };
}

const figures: CallFigures[] = [];
await dbContext.run(async () => {
  const session = dbContext.session();
  const fork = orm.em.fork({ disableContextResolution: true });
  const onFork = calls(fork);
  for (const [index, [name, call]] of calls(session).entries()) {
    figures.push(await compare(name, call, onFork[index]![1]));
  }
  figures.push(
    await compare(
      'getContext(): which session it is',
      () => session.getContext(),
      () => fork.getContext(),
    ),
    await compare('orm.em.findOne(), from the identity map', findOne(orm.em), findOne(fork)),
  );
});
// Outside of any context the global entity manager is MikroORM's own, and so is what it costs.
const plain = await MikroORM.init({
  ...ormOptions({ clientUrl: databaseUrl }),
  contextName: 'plain',
});
figures.push(
  await compare(
    'no context: orm.em.fork().findOne()',
    findOne(orm.em.fork()),
    findOne(plain.em.fork()),
  ),
  await compareInRequests('no context: orm.em.findOne() in a RequestContext', {
    claimed: orm.em,
    plain: plain.em,
  }),
);
await plain.close();
figures.push(
  await alone('dbContext.run(): a context that nobody touches', () => dbContext.run(() => 1)),
  await alone('dbContext.run(): with an untouched session', () =>
    dbContext.run(() => dbContext.session().isInTransaction()),
  ),
);
await app.close();
process.send!(figures, () => process.exit(0));
