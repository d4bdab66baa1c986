import { TransactionPropagation, TransactionStateError } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { DbContextNotActiveError } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';
import { useWorld } from '../support/use-world.js';

// The cells of docs/propagation.md. A cell is named by what is propagated, by the number of what is
// around it, and by the letter of how it ends: `REQUIRED 2b`.

const PROPAGATIONS = {
  'no propagation': undefined,
  REQUIRED: TransactionPropagation.REQUIRED,
  SUPPORTS: TransactionPropagation.SUPPORTS,
  MANDATORY: TransactionPropagation.MANDATORY,
  REQUIRES_NEW: TransactionPropagation.REQUIRES_NEW,
  NESTED: TransactionPropagation.NESTED,
  NOT_SUPPORTED: TransactionPropagation.NOT_SUPPORTED,
  NEVER: TransactionPropagation.NEVER,
} as const;
type Propagation = keyof typeof PROPAGATIONS;

const ENDS = {
  a: 'the inner one succeeds, and so does the outer one',
  b: 'the inner one throws, and the outer one catches it and succeeds',
  c: 'the inner one throws, and the error goes through the outer one',
  d: 'the inner one succeeds, and the outer one throws afterwards',
} as const;
type End = keyof typeof ENDS;

/** How one program went. */
interface Outcome {
  /** Texts of the notes that are saved: `before` and `after` are by the outer one. */
  readonly saved: readonly string[];
  /** What came out of it all. */
  readonly thrown: 'nothing' | 'inner' | 'outer' | 'refused';
  /** The transaction that the inner one ran in, if it ran. */
  readonly ranIn: 'the outer one' | 'one of its own' | 'none' | 'nothing: it did not run';
}

/** What a program is run with: the session in a context, or a plain entity manager of MikroORM. */
interface Side {
  readonly transactional: (
    callback: (em: EntityManager) => Promise<void>,
    propagation: TransactionPropagation | undefined,
  ) => Promise<void>;
  /** The entity manager that the outer one works with, or none where it has none. */
  readonly outer: EntityManager | undefined;
  /** The one that the inner one works with, in place of what its callback was given. */
  readonly inner?: EntityManager;
}

const innerError = new Error('the inner one');
const outerError = new Error('the outer one');

const insert = (em: EntityManager, text: string): Promise<unknown> => em.insert(Note, { text });
const xidOf = async (em: EntityManager): Promise<string> => {
  const [row] = await em.execute<{ xid: string }[]>('select pg_current_xact_id()::text as xid');
  return row!.xid;
};

/** The traces of a program that are not in the database. */
interface Trace {
  outer?: string;
  inner?: readonly [string, string];
}

/** The outer one, around the inner one. */
async function program(
  side: Side,
  propagation: Propagation,
  end: End,
  { trace, writesFirst }: { readonly trace: Trace; readonly writesFirst: boolean },
): Promise<void> {
  const { outer } = side;
  if (writesFirst && outer !== undefined) {
    await insert(outer, 'before');
  }
  try {
    await side.transactional(async (given) => {
      const em = side.inner ?? given;
      await insert(em, 'inner');
      trace.inner = [await xidOf(em), await xidOf(em)];
      if (end === 'b' || end === 'c') {
        throw innerError;
      }
    }, PROPAGATIONS[propagation]);
  } catch (error) {
    if (end !== 'b') {
      throw error;
    }
  } finally {
    if (outer !== undefined) {
      trace.outer = await xidOf(outer);
    }
  }
  if (outer !== undefined) {
    await insert(outer, 'after');
  }
  if (end === 'd') {
    throw outerError;
  }
}

const shared = useWorld();

/** Runs a program, and looks at what it left behind. */
async function outcomeOf(
  start: (trace: Trace) => Promise<void>,
  refusal: abstract new (...args: never) => Error,
): Promise<Outcome> {
  const trace: Trace = {};
  const thrown = await start(trace).then(
    () => 'nothing' as const,
    (error: unknown) => {
      if (error === innerError || error === outerError) {
        return error === innerError ? ('inner' as const) : ('outer' as const);
      }
      expect(error).toBeInstanceOf(refusal);
      return 'refused' as const;
    },
  );
  return { saved: await shared.world.savedTexts(), thrown, ranIn: whereItRan(trace) };
}

function whereItRan({ inner, outer }: Trace): Outcome['ranIn'] {
  if (inner === undefined) {
    return 'nothing: it did not run';
  }
  const [first, second] = inner;
  if (first !== second) {
    return 'none';
  }
  return first === outer ? 'the outer one' : 'one of its own';
}

/** What `transactional()` of an entity manager is called with. */
const callOf =
  (em: EntityManager): Side['transactional'] =>
  async (callback, propagation) => {
    await em.transactional(
      (fork) => callback(fork),
      propagation === undefined ? undefined : { propagation },
    );
  };

type Situation = '1' | '2' | '3' | '4';

/** What is around the inner one. */
const AROUND: Record<
  Situation,
  {
    readonly what: string;
    readonly ours: (propagation: Propagation, end: End) => Promise<Outcome>;
    /** The nearest that MikroORM has. */
    readonly plain: (propagation: Propagation, end: End) => Promise<Outcome>;
  }
> = {
  1: {
    what: 'in no context',
    ours: (propagation, end) =>
      outcomeOf(
        (trace) =>
          program({ transactional: callOf(shared.session), outer: undefined }, propagation, end, {
            trace,
            writesFirst: false,
          }),
        DbContextNotActiveError,
      ),
    plain: (propagation, end) =>
      outcomeOf((trace) => {
        const em = plainFork();
        return program({ transactional: callOf(em), outer: em }, propagation, end, {
          trace,
          writesFirst: true,
        });
      }, TransactionStateError),
  },
  2: {
    what: 'in a context that has begun nothing',
    ours: (propagation, end) =>
      outcomeOf(
        (trace) =>
          shared.run(() => program(sessionSide(), propagation, end, { trace, writesFirst: false })),
        TransactionStateError,
      ),
    plain: (propagation, end) =>
      outcomeOf(
        (trace) =>
          plainFork().transactional((em) =>
            program({ transactional: callOf(em), outer: em }, propagation, end, {
              trace,
              writesFirst: false,
            }),
          ),
        TransactionStateError,
      ),
  },
  3: {
    what: 'in a context that has begun',
    ours: (propagation, end) =>
      outcomeOf(
        (trace) =>
          shared.run(() => program(sessionSide(), propagation, end, { trace, writesFirst: true })),
        TransactionStateError,
      ),
    plain: (propagation, end) =>
      outcomeOf(async (trace) => {
        const em = plainFork();
        await em.begin();
        try {
          await program({ transactional: callOf(em), outer: em }, propagation, end, {
            trace,
            writesFirst: true,
          });
        } catch (error) {
          await em.rollback();
          throw error;
        }
        await em.commit();
      }, TransactionStateError),
  },
  4: {
    what: 'inside of transactional()',
    ours: (propagation, end) =>
      outcomeOf(
        (trace) =>
          shared.run(() =>
            shared.session.transactional(() =>
              program(sessionSide(), propagation, end, { trace, writesFirst: true }),
            ),
          ),
        TransactionStateError,
      ),
    plain: (propagation, end) =>
      outcomeOf(
        (trace) =>
          plainFork().transactional((whole) =>
            whole.transactional((em) =>
              program({ transactional: callOf(em), outer: em }, propagation, end, {
                trace,
                writesFirst: true,
              }),
            ),
          ),
        TransactionStateError,
      ),
  },
};

const sessionSide = (): Side => ({
  transactional: callOf(shared.session),
  outer: shared.session,
  inner: shared.session,
});
const plainFork = (): EntityManager =>
  shared.world.connection().orm.em.fork({ disableContextResolution: true });

/** What is saved and thrown, with `before` where the outer one has written first. */
type Cell = readonly [saved: readonly string[], thrown: Outcome['thrown']];
type Cells = Record<End, Cell>;

const JOINED: Cells = {
  a: [['before', 'inner', 'after'], 'nothing'],
  b: [['before', 'inner', 'after'], 'nothing'],
  c: [[], 'inner'],
  d: [[], 'outer'],
};
const SAVEPOINT: Cells = {
  a: [['before', 'inner', 'after'], 'nothing'],
  b: [['before', 'after'], 'nothing'],
  c: [[], 'inner'],
  d: [[], 'outer'],
};
const NEW: Cells = { ...SAVEPOINT, d: [['inner'], 'outer'] };
const OUTSIDE: Cells = {
  a: [['before', 'inner', 'after'], 'nothing'],
  b: [['before', 'inner', 'after'], 'nothing'],
  c: [['inner'], 'inner'],
  d: [['inner'], 'outer'],
};
const REFUSED: Cells = {
  a: [[], 'refused'],
  b: [['before', 'after'], 'nothing'],
  c: [[], 'refused'],
  d: [[], 'refused'],
};

/** The cells in a context, the same before and after BEGIN: laziness cannot be seen. */
const IN_A_CONTEXT: Record<Propagation, readonly [Cells, Outcome['ranIn']]> = {
  'no propagation': [SAVEPOINT, 'the outer one'],
  REQUIRED: [JOINED, 'the outer one'],
  SUPPORTS: [JOINED, 'the outer one'],
  MANDATORY: [JOINED, 'the outer one'],
  REQUIRES_NEW: [NEW, 'one of its own'],
  NESTED: [SAVEPOINT, 'the outer one'],
  NOT_SUPPORTED: [OUTSIDE, 'none'],
  NEVER: [REFUSED, 'nothing: it did not run'],
};

const OWN: Cells = {
  a: [['before', 'inner', 'after'], 'nothing'],
  b: [['before', 'after'], 'nothing'],
  c: [['before'], 'inner'],
  d: [['before', 'inner', 'after'], 'outer'],
};
const EACH_STATEMENT: Cells = {
  a: [['before', 'inner', 'after'], 'nothing'],
  b: [['before', 'inner', 'after'], 'nothing'],
  c: [['before', 'inner'], 'inner'],
  d: [['before', 'inner', 'after'], 'outer'],
};
const REFUSED_ALONE: Cells = {
  a: [['before'], 'refused'],
  b: [['before', 'after'], 'nothing'],
  c: [['before'], 'refused'],
  d: [['before'], 'refused'],
};

/** The cells of plain MikroORM, on a fork that is in no transaction. */
const PLAIN_ALONE: Record<Propagation, readonly [Cells, Outcome['ranIn']]> = {
  'no propagation': [OWN, 'one of its own'],
  REQUIRED: [OWN, 'one of its own'],
  SUPPORTS: [EACH_STATEMENT, 'none'],
  MANDATORY: [REFUSED_ALONE, 'nothing: it did not run'],
  REQUIRES_NEW: [OWN, 'one of its own'],
  NESTED: [OWN, 'one of its own'],
  NOT_SUPPORTED: [EACH_STATEMENT, 'none'],
  NEVER: [EACH_STATEMENT, 'none'],
};

const propagations = Object.keys(PROPAGATIONS) as Propagation[];
const ends = Object.keys(ENDS) as End[];
/** Tables of `it.each`: the propagation, the letter, and what the letter stands for. */
const cells = propagations.flatMap((propagation) =>
  ends.map((end): [Propagation, End, string] => [propagation, end, ENDS[end]]),
);

describe('1: in no context', () => {
  it.each(cells)('C6, S5: %s 1%s is refused: %s', async (propagation, end) => {
    expect(await AROUND[1].ours(propagation, end)).toEqual({
      saved: [],
      thrown: end === 'b' ? 'nothing' : 'refused',
      ranIn: 'nothing: it did not run',
    });
  });

  it.each(cells)('plain MikroORM: %s 1%s, on a fork: %s', async (propagation, end) => {
    const [{ [end]: cell }, ranIn] = PLAIN_ALONE[propagation];
    const [saved, thrown] = cell;
    expect(await AROUND[1].plain(propagation, end)).toEqual({ saved, thrown, ranIn });
  });
});

describe.each(['2', '3', '4'] as const)('%s', (situation) => {
  const { what, ours, plain } = AROUND[situation];
  const writesFirst = situation !== '2';
  const expected = (propagation: Propagation, end: End): Outcome => {
    const [{ [end]: cell }, ranIn] = IN_A_CONTEXT[propagation];
    const [saved, thrown] = cell;
    return { saved: saved.filter((text) => writesFirst || text !== 'before'), thrown, ranIn };
  };

  describe(what, () => {
    it.each(cells)(`C6, L3: %s ${situation}%s: %s`, async (propagation, end) => {
      expect(await ours(propagation, end)).toEqual(expected(propagation, end));
    });

    it.each(cells)(`plain MikroORM: %s ${situation}%s: %s`, async (propagation, end) => {
      expect(await plain(propagation, end)).toEqual(expected(propagation, end));
    });
  });
});
