import * as fc from 'fast-check';

import { Undetermined } from './model/failures.js';
import { predicted } from './model/interpreter.js';
import {
  ATOMIC_MODES,
  DATABASES,
  numbered,
  type Database,
  type Op,
  type Program,
  type Statement,
  type Step,
} from './program.js';

/** What may stand at a place of a program. */
interface Place {
  readonly depth: number;
  /** The databases that may be used here. */
  readonly databases: readonly Database[];
  /** Whether other branches run at the same time: what is read here then depends on the timing. */
  readonly isParallel: boolean;
  /** Whether other branches use the same sessions, so that no end and no hook may stand here. */
  readonly isShared: boolean;
}

type Weighted = { readonly weight: number; readonly arbitrary: fc.Arbitrary<Step> };

const STATEMENTS: readonly {
  readonly weight: number;
  readonly arbitrary: fc.Arbitrary<Statement>;
}[] = [
  { weight: 12, arbitrary: fc.constant('insert') },
  { weight: 8, arbitrary: fc.constant('persist') },
  { weight: 3, arbitrary: fc.constantFrom('update', 'delete') },
  { weight: 2, arbitrary: fc.constantFrom('flush', 'find') },
  { weight: 1, arbitrary: fc.constantFrom('persistTaken', 'orphan') },
];

/** Numbers are given when the program is complete. */
const op = (step: Step): Op => ({ ...step, id: 0 });

const step = (arbitrary: fc.Arbitrary<Step>, weight: number): Weighted => ({ weight, arbitrary });

/** Mostly caught: a program that its first step ends shows little. */
const throwing = (arbitrary: fc.Arbitrary<Step>, weight: number): Weighted => ({
  weight,
  arbitrary: fc.oneof(
    { weight: 1, arbitrary },
    {
      weight: 3,
      arbitrary: arbitrary.map((each): Step => ({ kind: 'attempt', body: [op(each)] })),
    },
  ),
});

const blocks = new Map<string, fc.Arbitrary<Program>>();

/** A list of steps; memoized, since the branches of the grammar are many. */
function block(place: Place, minLength = 1, maxLength = 5): fc.Arbitrary<Program> {
  const key = JSON.stringify([place, minLength, maxLength]);
  let arbitrary = blocks.get(key);
  if (arbitrary === undefined) {
    arbitrary = fc
      .array(fc.oneof({ withCrossShrink: true }, ...simpleSteps(place), ...nestedSteps(place)), {
        minLength,
        maxLength,
      })
      .map((steps) => steps.map(op));
    blocks.set(key, arbitrary);
  }
  return arbitrary;
}

function simpleSteps({ databases, isParallel, isShared }: Place): Weighted[] {
  const db = fc.constantFrom(...databases);
  const statement = (of: fc.Arbitrary<Statement>): fc.Arbitrary<Step> =>
    fc.record({ kind: fc.constant('statement'), statement: of, db });
  const all = [
    // The simplest first: a failing program shrinks towards it.
    step(statement(fc.oneof(...STATEMENTS)), 24),
    step(fc.record({ kind: fc.constant('late'), db }), 1),
    throwing(statement(fc.constantFrom('duplicate', 'divide')), 1),
    step(fc.constant({ kind: 'throw' }), 1),
  ];
  if (!isParallel) {
    all.push(step(statement(fc.constant('read')), 4), step(fc.constant({ kind: 'pool' }), 3));
  }
  if (!isShared) {
    const target = fc.constantFrom<(Database | 'all')[]>(...DATABASES, 'all');
    const verb = fc.constantFrom('commit', 'rollback', 'close');
    all.push(
      throwing(fc.record({ kind: fc.constant('end'), verb, target, bySession: fc.boolean() }), 6),
      step(fc.record({ kind: fc.constant('stray'), db }), 2),
      step(
        fc.record({ kind: fc.constant('abandon'), db, branches: fc.integer({ min: 1, max: 3 }) }),
        1,
      ),
      step(hook(isParallel), 7),
    );
  }
  return all;
}

/** Its body is simple: what a hook may do with ends of transactions is nowhere promised. */
function hook(isParallel: boolean): fc.Arbitrary<Step> {
  const place = { depth: 0, databases: DATABASES, isParallel, isShared: true };
  return fc
    .record({
      hook: fc.constantFrom('onCommit', 'onRollback', 'beforeCommit'),
      bound: fc.option(fc.constantFrom(...DATABASES), { nil: undefined }),
      // Nobody outside knows when the context of a hook has ended.
      body: block(place, 0, 2).map((body) => body.filter(({ kind }) => kind !== 'late')),
    })
    .map(({ hook: kind, bound, body }) => ({
      kind: 'hook',
      hook: kind,
      bound,
      body: kind === 'beforeCommit' ? onConnection(body, bound) : body,
    }));
}

/** A hook of a connection works on that connection, inside of its transaction. */
function onConnection(body: Program, bound: Database | undefined): Program {
  return body.map((each) =>
    bound !== undefined && each.kind === 'statement' ? { ...each, db: bound } : each,
  );
}

function nestedSteps(place: Place): Weighted[] {
  if (place.depth === 0) {
    return [];
  }
  const inner = { ...place, depth: place.depth - 1 };
  const body = block(inner);
  const db = fc.constantFrom(...place.databases);
  // Contexts and sessions of their own share nothing with a parallel branch.
  const apart = block({ ...inner, databases: DATABASES, isShared: false });
  const all = [
    step(fc.record({ kind: fc.constant('attempt'), body }), 5),
    throwing(savepoint(db, body), 8),
    throwing(atomic(db, fc.constant('savepoint'), body), 2),
    throwing(fc.record({ kind: fc.constant('newContext'), body: apart }), 4),
    step(fc.record({ kind: fc.constant('join'), body }), 1),
  ];
  if (!place.isShared) {
    all.push(
      throwing(atomic(db, fc.constantFrom(...ATOMIC_MODES), body), 9),
      throwing(fc.record({ kind: fc.constant('newSession'), db, commits: fc.boolean(), body }), 4),
      throwing(parallel(inner), 4),
    );
  }
  return all;
}

function savepoint(db: fc.Arbitrary<Database>, body: fc.Arbitrary<Program>): fc.Arbitrary<Step> {
  const propagation = fc.oneof(
    { weight: 5, arbitrary: fc.constant('nested' as const) },
    { weight: 1, arbitrary: fc.constant('required' as const) },
    { weight: 3, arbitrary: fc.constant('requires_new' as const) },
    { weight: 1, arbitrary: fc.constant('not_supported' as const) },
  );
  return fc.record({
    kind: fc.constant('savepoint'),
    db,
    propagation,
    own: fc.boolean(),
    body,
  });
}

function atomic(
  db: fc.Arbitrary<Database>,
  mode: fc.Arbitrary<(typeof ATOMIC_MODES)[number]>,
  body: fc.Arbitrary<Program>,
): fc.Arbitrary<Step> {
  return fc.record({ kind: fc.constant('atomic'), db, mode, own: fc.boolean(), body });
}

/**
 * Branches whose outcome does not depend on the timing: each in a context of its own, or all on the
 * same session, in savepoints and single inserts, or all in blocks that take turns.
 */
function parallel(place: Place): fc.Arbitrary<Step> {
  const { databases } = place;
  const several = (branch: fc.Arbitrary<Step>): fc.Arbitrary<Program[]> =>
    fc.array(
      branch.map((each) => [op(each)]),
      { minLength: 2, maxLength: 4 },
    );
  const inside = { ...place, isParallel: true };
  const apart = block({ ...inside, databases: DATABASES, isShared: false });
  const newContext = fc.record({ kind: fc.constant('newContext' as const), body: apart });
  const ofDatabase = (db: Database): fc.Arbitrary<Program[]> => {
    const body = block({ ...inside, databases: [db], isShared: true });
    const one = fc.constant(db);
    const nested = fc.record({
      kind: fc.constant('savepoint' as const),
      db: one,
      propagation: fc.constant('nested' as const),
      own: fc.boolean(),
      body,
    });
    const insert = fc.constant({ kind: 'statement', statement: 'insert', db } as const);
    const taking = fc.constantFrom(...ATOMIC_MODES.filter((mode) => mode !== 'savepoint'));
    return fc.oneof(
      several(fc.oneof(nested, atomic(one, fc.constant('savepoint'), body), insert, newContext)),
      // One after another, so that there is nothing that they may not do.
      several(atomic(one, taking, block(place))),
    );
  };
  return fc
    .oneof(several(newContext), ...databases.map(ofDatabase))
    .map((branches) => ({ kind: 'parallel', branches }));
}

/** Programs whose outcome is promised. */
export const programs: fc.Arbitrary<Program> = block(
  { depth: 3, databases: DATABASES, isParallel: false, isShared: false },
  2,
  7,
)
  .map(numbered)
  .filter(isDetermined);

function isDetermined(program: Program): boolean {
  try {
    predicted(program);
    return true;
  } catch (error) {
    if (error instanceof Undetermined) {
      return false;
    }
    throw error;
  }
}
