import type { RequestRecord, TransactionRecord } from '../request-record.js';
import { grouped } from './grouped.js';
import { reasonsOf } from './reasons.js';
import { shownFinding } from './shown-findings.js';
import { rounded, shownPath, summaryOf } from './summary.js';
import type { RequestDetail } from './view-types.js';
import { waterfallOf } from './waterfall.js';

/** All that the page shows of one request. */
export function detailOf(record: RequestRecord, showValues: boolean): RequestDetail {
  const { transactions, findings, startedAt } = record;
  const homes = findings.map((finding) => ({ finding, home: homeOf(finding, transactions) }));
  const summary = summaryOf(record, showValues);
  const detail: RequestDetail = {
    ...summary,
    reasons: ['rolled-back', 'unknown'].includes(summary.outcome) ? reasonsOf(record) : [],
    unplaced: homes
      .filter(({ home }) => home === undefined)
      .map(({ finding }) => shownFinding(finding, rounded(finding.at - startedAt))),
    connections: grouped(transactions, ({ connection }) => connection).map(([name, of]) => ({
      name,
      database: of[0].database,
      host: of[0].host,
      transactions: of.map((transaction) =>
        waterfallOf(
          record,
          transaction,
          homes.filter(({ home }) => home === transaction).map(({ finding }) => finding),
        ),
      ),
    })),
  };
  return showValues ? detail : withoutPath(detail, record);
}

/** The transaction that a finding is about: the last one that had begun, or the one that was to begin. */
function homeOf(
  { connection, at }: RequestRecord['findings'][number],
  transactions: readonly TransactionRecord[],
): TransactionRecord | undefined {
  const own = transactions.filter((each) => each.connection === connection);
  return own.findLast((each) => each.startedAt <= at) ?? own[0];
}

/** Messages name a request that has no route by its path, which may hold values. */
function withoutPath(detail: RequestDetail, record: RequestRecord): RequestDetail {
  const { path = '' } = record;
  const hidden = shownPath(record, false);
  if (path === hidden || path.length < 2) {
    return detail;
  }
  return JSON.parse(
    JSON.stringify(detail, (_key, value: unknown) =>
      typeof value === 'string' ? value.replaceAll(path, () => hidden) : value,
    ),
  ) as RequestDetail;
}
