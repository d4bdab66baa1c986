import type {
  FindingRecord,
  RequestRecord,
  StatementRecord,
  TransactionRecord,
  WaitRecord,
} from '../request-record.js';
import { repeatsIn } from './repeats.js';
import { rounded, transactionMsOf, waitMsOf } from './summary.js';
import { shownFinding, shownRepeats } from './shown-findings.js';
import type { ShownRow, ShownSpan, ShownTransaction } from './view-types.js';

/** Shorter pauses between two statements are the ordinary work of the application. */
const SHORTEST_IDLE_MS = 10;

/** A transaction as lines in the order of time. */
export function waterfallOf(
  record: RequestRecord,
  transaction: TransactionRecord,
  findings: readonly FindingRecord[],
): ShownTransaction {
  const clock = new Clock(record);
  const { isNone, outcome, endedAt, statements, isolationLevel, isReadOnly, processId, left } =
    transaction;
  const repeats = repeatsIn(statements);
  const spans = statements.map((each): ShownSpan => {
    const group = repeats.findIndex((repeat) => repeat.statements.includes(each));
    const same = repeats[group]?.statements;
    const repeat = same && { group, number: same.indexOf(each) + 1, count: same.length };
    return { ...statementSpan(each, depthOf(each, statements), clock), repeat };
  });
  const rows: ShownRow[] = [
    ...transaction.waits.map((wait) => waitSpan(wait, clock)),
    ...spans,
    ...(isNone ? [] : idleSpans(statements, clock, endedAt)),
    ...repeats.map(({ statements: same }) => {
      const [first] = same;
      return shownRepeats(same, {
        at: clock.at(first!.startedAt),
        depth: depthOf(first!, statements),
      });
    }),
    ...findings.map((finding) => shownFinding(finding, clock.at(finding.at))),
  ];
  return {
    isNone,
    outcome: isNone ? 'untouched' : (outcome ?? 'running'),
    isolationLevel,
    isReadOnly,
    processId,
    waitMs: waitMsOf([transaction], clock.now),
    ms: transactionMsOf([transaction], clock.now),
    rows: rows.toSorted((one, other) => one.at - other.at),
    left,
  };
}

/** Times as the page gets them: in milliseconds since the request began. */
class Clock {
  readonly now: number;
  readonly #startedAt: number;

  constructor({ startedAt, endedAt }: RequestRecord) {
    this.#startedAt = startedAt;
    this.now = endedAt ?? performance.now();
  }

  at(time: number): number {
    return rounded(time - this.#startedAt);
  }

  /** The times of what has begun, and may still go on. */
  span(
    startedAt: number,
    durationMs: number | undefined,
  ): Pick<ShownSpan, 'at' | 'ms' | 'isRunning'> {
    const ms = durationMs ?? Math.max(0, this.now - startedAt);
    return { at: this.at(startedAt), ms: rounded(ms), isRunning: durationMs === undefined };
  }
}

function waitSpan({ startedAt, durationMs, error, queue }: WaitRecord, clock: Clock): ShownSpan {
  return {
    kind: 'wait',
    ...clock.span(startedAt, durationMs),
    depth: 0,
    text: 'Waiting for a connection',
    error,
    note: queue && `all ${queue.size} in use, ${queue.waiting} waiting`,
  };
}

function statementSpan(statement: StatementRecord, depth: number, clock: Clock): ShownSpan {
  const { kind, sql, shown, values, begins, commits, error, hasRun, place, savepoint } = statement;
  const { startedAt, durationMs, rows } = statement;
  if (savepoint !== undefined) {
    const { name, endedAt, outcome } = savepoint;
    return {
      kind: 'savepoint',
      ...clock.span(startedAt, endedAt === undefined ? undefined : endedAt - startedAt),
      depth,
      text: `savepoint ${name}${outcome === undefined ? '' : `: ${SAVEPOINT_ENDS[outcome]}`}`,
      begins,
      place,
    };
  }
  return {
    kind,
    ...clock.span(startedAt, durationMs),
    depth,
    text: shown ?? sql,
    values,
    // The server counts none for what ends or begins a transaction.
    rows: kind === 'statement' ? rows : undefined,
    begins,
    commits,
    error,
    place,
    note: hasRun ? undefined : 'not run; sent again by itself',
  };
}

const SAVEPOINT_ENDS = {
  committed: 'released',
  'rolled-back': 'undone',
  unknown: 'ended with the transaction',
} as const;

/** How many savepoints are open where a statement is sent. */
function depthOf(statement: StatementRecord, statements: readonly StatementRecord[]): number {
  const { startedAt } = statement;
  return statements.filter(
    (each) =>
      each !== statement &&
      each.savepoint !== undefined &&
      each.startedAt < startedAt &&
      (each.savepoint.endedAt ?? Infinity) > startedAt,
  ).length;
}

/** Where the connection was held, and nothing was asked of it. */
function idleSpans(
  statements: readonly StatementRecord[],
  clock: Clock,
  endedAt: number | undefined,
): readonly ShownSpan[] {
  return statements.flatMap((each, index) => {
    const next = statements[index + 1];
    const idleTo = next?.startedAt ?? endedAt;
    const isHeld = each.durationMs !== undefined && !isEnd(each);
    const idleFrom = each.startedAt + (each.durationMs ?? 0);
    const ms = (idleTo ?? clock.now) - idleFrom;
    if (!isHeld || ms < SHORTEST_IDLE_MS) {
      return [];
    }
    return [
      {
        kind: 'idle' as const,
        ...clock.span(idleFrom, idleTo === undefined ? undefined : ms),
        depth: next === undefined ? 0 : depthOf(next, statements),
        text: 'Connection held, nothing asked',
      },
    ];
  });
}

function isEnd({ kind, commits }: StatementRecord): boolean {
  return commits || kind === 'commit' || kind === 'rollback';
}
