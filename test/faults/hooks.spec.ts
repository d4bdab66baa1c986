import { EventType, type TransactionEventType } from '@mikro-orm/core';

import { deferred, type Deferred } from '../support/deferred.js';
import { describeFaults, type Fault } from './support/describe-faults.js';
import type { Handler } from './support/scenario.js';
import { TIMES } from './support/times.js';
import type { LibraryWorld } from './support/world.js';

class HookFailed extends Error {}

const fail = (): never => {
  throw new HookFailed('the hook failed');
};
const writes = (): Handler => (work) => work.write('row');
const throws = new RangeError('the handler failed');

/** What has a hook misbehave, until it is over. */
let misbehave: () => unknown = () => undefined;
/** What a hook that never returns waits for; so nothing is left once a test is over. */
let never: Deferred<void>;
const failing = (): void => {
  misbehave = fail;
};
const hanging = (): void => {
  never = deferred();
  misbehave = () => never.promise;
};
const behave = (): void => {
  misbehave = () => undefined;
};

const subscribe = (world: LibraryWorld, event: TransactionEventType): void => {
  world
    .connection()
    .orm.em.getEventManager()
    .registerSubscriber({ [event]: async () => void (await misbehave()) });
};
const expectReports = (pattern: RegExp) => (world: LibraryWorld) => {
  const reports = world.logger.ofLibrary('error').filter((line) => pattern.test(line));
  expect(reports).toHaveLength(TIMES);
};

const subscribers = (
  [
    EventType.beforeTransactionStart,
    EventType.afterTransactionStart,
    EventType.beforeTransactionCommit,
  ] as const satisfies readonly TransactionEventType[]
).map((event): Fault => ({
  title: `F1: a subscriber that throws in ${event}`,
  arrange: (world) => {
    subscribe(world, event);
    failing();
  },
  handler: writes,
  heal: behave,
  // MikroORM takes any error of a statement for an error of the driver.
  answers: ['500 DriverException', '500 HookFailed'],
  saved: 'nothing',
  afterwards: (_, answers) => {
    expect(answers.map(({ errorBody }) => errorBody?.message)).toEqual(
      answers.map(() => 'the hook failed'),
    );
  },
}));

const lateSubscribers = (
  [
    ['throws', failing, /afterTransactionCommit.*failed/],
    ['never returns', hanging, /afterTransactionCommit.*failed/],
  ] as const
).map(([verb, arrange, report]): Fault => ({
  title: `F1, F4, F6: a subscriber that ${verb} in afterTransactionCommit`,
  limits: { endTimeoutMs: 300 },
  arrange: (world) => {
    subscribe(world, EventType.afterTransactionCommit);
    arrange();
  },
  handler: writes,
  heal: behave,
  answers: ['200'],
  saved: 'all',
  afterwards: expectReports(report),
}));

const rollbackSubscribers = (
  [
    EventType.beforeTransactionRollback,
    EventType.afterTransactionRollback,
  ] as const satisfies readonly TransactionEventType[]
).flatMap((event) =>
  (
    [
      ['throws', failing],
      ['never returns', hanging],
    ] as const
  ).map(([verb, arrange]): Fault => ({
    title: `F1, F6: a subscriber that ${verb} in ${event}`,
    limits: { endTimeoutMs: 300 },
    arrange: (world) => {
      subscribe(world, event);
      arrange();
    },
    handler: () => async (work) => {
      await work.write('row');
      throw throws;
    },
    heal: behave,
    answers: ['500 RangeError'],
    saved: 'nothing',
    afterwards: expectReports(new RegExp(`${event}.*failed`)),
  })),
);

const hooks: readonly Fault[] = [
  {
    title: 'F1: the option beforeCommit throws',
    isVariant: true,
    options: { beforeCommit: () => misbehave() },
    arrange: failing,
    handler: writes,
    heal: behave,
    answers: ['500 HookFailed'],
    saved: 'nothing',
  },
  {
    title: 'F1: a beforeCommit hook throws',
    arrange: failing,
    handler: (world) => async (work) => {
      await work.write('row');
      world.dbContext.beforeCommit(() => misbehave());
    },
    heal: behave,
    answers: ['500 HookFailed'],
    saved: 'nothing',
  },
  ...(
    [
      ['throws', failing],
      ['never returns', hanging],
    ] as const
  ).flatMap(([verb, arrange]): readonly Fault[] => [
    {
      title: `F1, F6: an onCommit hook that ${verb}`,
      options: { shutdownTimeoutMs: 300 },
      arrange,
      handler: (world) => async (work) => {
        await work.write('row');
        world.dbContext.onCommit(() => misbehave());
      },
      heal: behave,
      answers: ['200'],
      saved: 'all',
      afterwards: expectReports(/onCommit hook of \S+ failed/),
    },
    {
      title: `F1, F6: an onRollback hook that ${verb}`,
      options: { shutdownTimeoutMs: 300 },
      arrange,
      handler: (world) => async (work) => {
        await work.write('row');
        world.dbContext.onRollback(() => misbehave());
        throw throws;
      },
      heal: behave,
      answers: ['500 RangeError'],
      saved: 'nothing',
      afterwards: expectReports(/onRollback hook of \S+ failed/),
    },
  ]),
  {
    title: 'F1: an onCommit hook whose own work fails',
    isVariant: true,
    handler: (world) => async (work) => {
      await work.write('row');
      world.dbContext.onCommit(() => work.session.execute('select 1 / 0'));
    },
    answers: ['200'],
    saved: 'all',
    afterwards: expectReports(/onCommit hook of \S+ failed/),
  },
];

const settings: readonly Fault[] = [
  {
    title: 'F1: sessionVariables() throws',
    limits: { sessionVariables: () => (misbehave() as undefined) ?? {} },
    arrange: failing,
    handler: writes,
    heal: behave,
    answers: ['500 ContextSettingsError'],
    saved: 'nothing',
  },
  {
    title: 'F1, F6: sessionVariables() never returns',
    limits: {
      acquireTimeoutMs: 500,
      sessionVariables: async () => ((await misbehave()) as undefined) ?? {},
    },
    arrange: hanging,
    handler: writes,
    heal: behave,
    answers: ['500 ContextSettingsError'],
    saved: 'nothing',
  },
  {
    title: 'F1: sessionVariables() returns what the server refuses',
    limits: { sessionVariables: () => (misbehave() as undefined) ?? {} },
    arrange: () => {
      misbehave = () => ({ statement_timeout: 'soon' });
    },
    handler: writes,
    heal: behave,
    answers: ['500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: role() throws',
    isVariant: true,
    limits: { role: () => misbehave() as undefined },
    arrange: failing,
    handler: writes,
    heal: behave,
    answers: ['500 ContextSettingsError'],
    saved: 'nothing',
  },
  {
    title: 'F1: role() returns a promise',
    isVariant: true,
    limits: { role: () => misbehave() as undefined },
    arrange: hanging,
    handler: writes,
    heal: behave,
    answers: ['500 ContextSettingsError'],
    saved: 'nothing',
  },
  {
    title: 'F1: role() returns a role that the user is not a member of',
    limits: { role: () => misbehave() as undefined },
    arrange: () => {
      misbehave = () => 'pg_monitor';
    },
    handler: writes,
    heal: behave,
    answers: ['500 DriverException'],
    saved: 'nothing',
  },
  {
    title: 'F1: commitOn throws',
    options: {
      commitOn: () => {
        misbehave();
        return true;
      },
    },
    arrange: failing,
    handler: writes,
    heal: behave,
    answers: ['500 HookFailed'],
    saved: 'nothing',
  },
];

describeFaults('subscribers', [...subscribers, ...lateSubscribers, ...rollbackSubscribers]);
describeFaults('hooks', hooks);
describeFaults('settings and policies', settings);
