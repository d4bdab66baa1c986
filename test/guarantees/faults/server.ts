import { EventType, type TransactionEventType } from '@mikro-orm/core';
import type { World } from '../../faults/support/world.js';
import type { ComparedFault } from '../compared-fault.js';
import { NO_FAULT } from '../table.js';

const KILLS = ['test/faults/backend.spec.ts'];
const LIMITS = ['test/faults/limits.spec.ts'];
const HOOKS = ['test/faults/hooks.spec.ts'];

/** What the server, or a subscriber, does to a transaction. */
export const SERVER_FAULTS: readonly ComparedFault[] = [
  {
    title: NO_FAULT,
    proofs: ['test/e2e/http-settlement.spec.ts'],
    handler: () => async (work) => {
      await work.insert('first');
      await work.insert('second');
    },
  },
  {
    title: 'backend killed between two statements',
    proofs: KILLS,
    handler: (world) => async (work) => {
      await work.insert('first');
      await world.faultDatabase.kill('pid = $1', [(await work.look()).pid]);
      await work.insert('second');
    },
  },
  {
    title: 'backend killed before the COMMIT',
    proofs: KILLS,
    handler: (world) => async (work) => {
      await work.insert('first');
      await world.faultDatabase.kill('pid = $1', [(await work.look()).pid]);
    },
  },
  {
    title: '`idle_in_transaction_session_timeout`',
    proofs: LIMITS,
    handler: (world) => async (work) => {
      await work.insert('first');
      const { pid } = await work.look();
      await work.session.execute(`set local idle_in_transaction_session_timeout = '100ms'`);
      await world.faultDatabase.until(
        `pid = ${pid}`,
        'the server to end a backend',
        (count) => count === 0,
      );
      await work.insert('second');
    },
  },
  {
    title: '`transaction_timeout`',
    proofs: LIMITS,
    handler: () => async (work) => {
      await work.insert('first');
      await work.session.execute(`set local transaction_timeout = '200ms'`);
      await work.session.execute('select pg_sleep(30)');
    },
  },
  {
    title: '`query_timeout` of pg',
    proofs: LIMITS,
    driverOptions: { query_timeout: 300 },
    handler: () => async (work) => {
      await work.insert('first');
      await work.session.execute('select pg_sleep(30)');
    },
  },
  {
    title: 'a subscriber that throws in `afterTransactionStart`',
    proofs: HOOKS,
    arrange: (world) => failIn(world, EventType.afterTransactionStart),
    handler: () => (work) => work.insert('row'),
    heal: (world) => world.scenario.point(BEHAVE).resolve(),
  },
  {
    title: 'a subscriber that throws in `afterTransactionCommit`',
    proofs: HOOKS,
    arrange: (world) => failIn(world, EventType.afterTransactionCommit),
    handler: () => (work) => work.insert('row'),
    heal: (world) => world.scenario.point(BEHAVE).resolve(),
  },
];

const BEHAVE = 'the subscriber behaves';

/** MikroORM has no way to take a subscriber out again, so this one stops to fail instead. */
function failIn({ orm, scenario }: World, event: TransactionEventType): void {
  let isFailing = true;
  void scenario.point(BEHAVE).promise.then(() => {
    isFailing = false;
  });
  orm.em.getEventManager().registerSubscriber({
    [event]: async () => {
      if (isFailing) {
        throw new Error('the subscriber failed');
      }
    },
  });
}
