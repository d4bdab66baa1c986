import type { RequestRecord } from '../request-record.js';
import { repeatsIn } from './repeats.js';
import type { RequestSummary, ShownOutcome } from './view-types.js';

/** What the list says of a request. */
export function summaryOf(record: RequestRecord, showValues: boolean): RequestSummary {
  const { id, startedAt, endedAt, status, isAbandoned, contexts, transactions } = record;
  const now = endedAt ?? performance.now();
  return {
    id,
    at: Math.round(performance.timeOrigin + startedAt),
    title: titleOf(record, showValues),
    // A context that no route has taken over is named by the path.
    origin: record.origin?.includes(' /') === true ? undefined : record.origin,
    status,
    outcome: outcomeOf(record),
    isAbandoned,
    attempts: 1 + contexts.filter(({ isRetried }) => isRetried).length,
    statements: record.statements,
    transactionMs: transactionMsOf(transactions, now),
    waitMs: waitMsOf(transactions, now),
    durationMs: rounded(now - startedAt),
    findings:
      record.findings.length +
      transactions.reduce((sum, { statements }) => sum + repeatsIn(statements).length, 0),
  };
}

/** How long one of some transactions was open: from its first statement to its end, in milliseconds. */
export function transactionMsOf(transactions: RequestRecord['transactions'], now: number): number {
  return rounded(
    unionOf(
      transactions
        .filter(({ isNone, statements }) => !isNone && statements.length > 0)
        .map((each) => [each.statements[0]!.startedAt, each.endedAt ?? now]),
    ),
  );
}

/** How long they have waited for a connection, in milliseconds. */
export function waitMsOf(transactions: RequestRecord['transactions'], now: number): number {
  return rounded(
    transactions
      .flatMap(({ waits }) => waits)
      .reduce((sum, wait) => sum + (wait.durationMs ?? now - wait.startedAt), 0),
  );
}

/** The path of a request as it may be shown: that of its route, or its first segment. */
export function shownPath({ path = '', route }: RequestRecord, showValues: boolean): string {
  if (showValues) {
    return path;
  }
  const [, first = '', ...rest] = path.split('/');
  return route ?? `/${first}${rest.length > 0 ? '/…' : ''}`;
}

function titleOf(record: RequestRecord, showValues: boolean): string {
  return record.method === undefined
    ? (record.origin ?? '')
    : `${record.method} ${shownPath(record, showValues)}`;
}

function outcomeOf({ endedAt, contexts, transactions }: RequestRecord): ShownOutcome {
  if (endedAt === undefined) {
    return 'running';
  }
  if (transactions.some(({ outcome }) => outcome === 'unknown')) {
    return 'unknown';
  }
  const isRolledBack = contexts.some(
    ({ isInner, isRetried, outcome, hasSessions }) =>
      !isInner && !isRetried && outcome === 'rolled-back' && hasSessions,
  );
  if (isRolledBack) {
    return 'rolled-back';
  }
  return transactions.length === 0 ? 'untouched' : 'committed';
}

/** How much time spans cover, those that overlap once. */
function unionOf(spans: readonly (readonly [number, number])[]): number {
  let covered = 0;
  let coveredTo = -Infinity;
  for (const [start, end] of spans.toSorted(([one], [other]) => one - other)) {
    covered += Math.max(0, end - Math.max(start, coveredTo));
    coveredTo = Math.max(coveredTo, end);
  }
  return covered;
}

/** In milliseconds, to a hundredth. */
export function rounded(ms: number): number {
  return Math.round(ms * 100) / 100;
}
