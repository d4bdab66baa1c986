/** The picture of a transaction's states shows those of the code, and each move that the code can make. */
import { readFileSync } from 'node:fs';

import type { Lease } from '../../lib/connection/lease.js';
import type {
  BeginPlan,
  TransactionOwner,
  TransactionSource,
} from '../../lib/transaction/begin-plan.js';
import { StateMachine } from '../../lib/transaction/state-machine.js';
import type { TransactionState } from '../../lib/transaction/transaction-state.js';

type Tag = TransactionState['tag'];
type Call = (machine: StateMachine, lease: Lease) => unknown;
type Method = {
  [Name in keyof StateMachine]: StateMachine[Name] extends (...args: never[]) => unknown
    ? Name
    : never;
}[keyof StateMachine];

const PICTURE = readFileSync(
  new URL('../../docs/figures/transaction-states.dot', import.meta.url),
  'utf8',
);

const plan: BeginPlan = { settings: {}, statements: [], before: undefined, after: undefined };
const lost = new Error('the connection was lost');
const refused = new Error('the server refused it');

// The texts say what the server makes of them.
const source = {
  name: 'default',
  limits: { transactionTimeoutMs: 60_000 },
  transactionOptions: {},
  server: {
    isUnanswered: (sql: string) => sql === 'unanswered',
    isEnd: (sql: string) => sql === 'commit',
    wordOfEnd: () => 'committed',
    mayHaveEnded: (sql: string) => sql === 'begin; commit; select 1 / 0',
    isRefusal: (error: unknown) => error === refused,
    endsConnection: () => false,
    isAborted: () => false,
    isPlainRead: () => true,
  },
} as unknown as TransactionSource;

const begins: readonly Call[] = [
  (machine) => machine.begin(),
  (machine) => machine.planned(plan),
  (machine, lease) => machine.acquired(lease),
];
const opens: readonly Call[] = [...begins, (machine, lease) => machine.begun(lease, plan)];
const shuts: readonly Call[] = [...opens, (machine) => machine.shut(undefined, true)];
const ends: readonly Call[] = [...shuts, (machine) => machine.ending()];

/** A way into each state. */
const WAYS: Readonly<Record<Tag, readonly Call[]>> = {
  idle: [],
  reading: [(machine) => machine.asksToRead(), (machine, lease) => machine.reading(lease)],
  beginning: begins,
  open: opens,
  broken: [...opens, (machine, lease) => machine.connectionFailed(lease, lost)],
  shut: shuts,
  ending: ends,
  ended: [...ends, (machine) => machine.end('committed')],
};

const STATES = Object.keys(WAYS) as Tag[];
const OPEN_STATES: readonly Tag[] = ['idle', 'reading', 'beginning', 'open', 'broken'];

/** What is called in a state: where `in` is missing, in each. Callers see to that, see lib/transaction. */
interface Calls {
  readonly in?: readonly Tag[];
  readonly calls: readonly Call[];
}

const METHODS: Readonly<Record<Method, Calls>> = {
  whenShut: { calls: [(machine) => machine.whenShut(() => {})()] },
  isOverdue: { calls: [(machine) => machine.isOverdue()] },
  stopIdleDeadline: { calls: [(machine) => machine.stopIdleDeadline()] },
  begin: { in: ['idle'], calls: [(machine) => machine.begin()] },
  planned: { in: ['beginning'], calls: [(machine) => machine.planned(plan)] },
  acquired: { calls: [(machine, lease) => machine.acquired(lease)] },
  begun: { calls: [(machine, lease) => machine.begun(lease, plan)] },
  notBegun: { calls: [(machine) => machine.notBegun(refused)] },
  // In an open transaction a read is one of its statements.
  asksToRead: { calls: [(machine) => machine.asksToRead()] },
  reading: { in: ['reading'], calls: [(machine, lease) => machine.reading(lease)] },
  cannotRead: { calls: [(machine) => machine.cannotRead()] },
  hasRead: { calls: [(machine) => machine.hasRead()] },
  sends: { calls: [(machine) => machine.sends('select 1')] },
  hasOnlyRead: { calls: [(machine) => machine.hasOnlyRead()] },
  answered: {
    calls: ['select 1', 'commit', 'unanswered'].map(
      (sql) => (machine) => ignoringErrors(() => machine.answered(sql, {} as never)),
    ),
  },
  returned: {
    calls: ['select 1', 'commit'].map(
      (sql) => (machine) => machine.returned(sql, {} as never, { error: refused }),
    ),
  },
  failed: {
    calls: [
      (machine) => machine.failed('select 1 / 0', refused),
      (machine) => machine.failed('select 1', lost),
      (machine) => machine.failed('begin; commit; select 1 / 0', refused),
    ],
  },
  connectionFailed: { calls: [(machine, lease) => machine.connectionFailed(lease, lost)] },
  shut: {
    in: OPEN_STATES,
    calls: [(machine) => machine.shut(undefined, machine.isBegun)],
  },
  ending: { in: ['shut'], calls: [(machine) => machine.ending()] },
  commitFailed: { in: ['ending'], calls: [(machine) => machine.commitFailed(lost)] },
  end: { in: ['shut', 'ending'], calls: [(machine) => machine.end('committed')] },
  kill: { calls: [(machine) => machine.kill(lost)] },
};

function ignoringErrors(call: () => unknown): void {
  try {
    call();
  } catch {
    // What it throws is proved elsewhere; here it is the state that counts.
  }
}

function machineIn(state: Tag) {
  const lease = { status: 'T', destroy: async () => {}, client: {} } as unknown as Lease;
  const owner = { holder: undefined } as unknown as TransactionOwner;
  const machine = new StateMachine(source, owner, { hasEnded: () => {} });
  WAYS[state].forEach((call) => call(machine, lease));
  return { machine, lease };
}

/** Every move to another state that one call makes. */
function movesOfCode(): ReadonlySet<string> {
  const moves = new Set<string>();
  for (const before of STATES) {
    for (const { in: states = STATES, calls } of Object.values(METHODS)) {
      for (const call of states.includes(before) ? calls : []) {
        const { machine, lease } = machineIn(before);
        call(machine, lease);
        if (machine.state.tag !== before) {
          moves.add(`${before} -> ${machine.state.tag}`);
        }
      }
    }
  }
  return moves;
}

it('the ways in this spec lead to their states', () => {
  expect(STATES.map((state) => machineIn(state).machine.state.tag)).toEqual(STATES);
});

it('the picture has the states of the code', () => {
  const pictured = [...PICTURE.matchAll(/^ {2}(\w+) \[/gm)].map(([, state]) => state);
  expect(new Set(pictured)).toEqual(new Set(STATES));
});

it('the picture has the moves of the code', () => {
  const pictured = [...PICTURE.matchAll(/^ {2}(\w+ -> \w+)/gm)].map(([, move]) => move);
  expect(new Set(pictured)).toEqual(movesOfCode());
});
