import type { StatementRecord } from '../request-record.js';
import { grouped } from './grouped.js';

/** From how many times on the same statement is found. */
const FOUND_FROM = 5;

/** A statement that was sent again and again in one transaction, with other values or the same. */
export interface Repeats {
  readonly statements: readonly StatementRecord[];
}

/** What looks like "N+1": a statement for each row that another one has read. */
export function repeatsIn(statements: readonly StatementRecord[]): readonly Repeats[] {
  if (statements.length < FOUND_FROM) {
    return [];
  }
  const asked = statements.filter(({ kind, sql, savepoint }) => {
    const isOfNesting = savepoint !== undefined || /^(?:rollback to|release) /i.test(sql);
    return kind === 'statement' && !isOfNesting;
  });
  return grouped(asked, ({ sql }) => sql)
    .map(([, same]) => same)
    .filter((same) => same.length >= FOUND_FROM)
    .map((same) => ({ statements: same }));
}
