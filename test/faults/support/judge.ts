import type { SavedRow } from './fault-database.js';
import type { Scenario } from './scenario.js';
import type { Answer } from './world.js';

/** Which rows of the requests are to be there. */
export type Saved =
  /** The rows of requests that were answered with a success, and no others. */
  | 'as answered'
  /** The same; of a request whose client cannot know its outcome, either all rows or none or some. */
  | 'as known'
  /** No row at all. */
  | 'nothing'
  /** All rows; the answers of the clients do not matter. */
  | 'all'
  /** Either all rows of a request or none: nobody can know which. */
  | 'all or nothing';

/** One thing that should not be. */
export interface Violation {
  readonly what: /** A row that a request promised is not there. */
    | 'missing'
    /** A row of a request that failed is there. */
    | 'of a failure'
    /** The rows of a request were not inserted in the order in which it wrote them. */
    | 'out of order'
    /** A row that no request promised: it was undone, or came after the end of its transaction. */
    | 'in vain'
    /** A row of a request that nobody sent. */
    | 'of no request'
    /** A row lies in the transaction of another request. */
    | 'in a foreign transaction'
    /** A row lies in a transaction that its request was never in, as with autocommit. */
    | 'in an unknown transaction'
    /** A row lies in another transaction than the row before it of the same request. */
    | 'in a second transaction';
  readonly key: string;
  readonly text: string;
}

/** The errors that say that rows may stand although the request failed. */
const SAYS_MAY_STAND = [
  'CommitOutcomeUnknownError',
  'PartialCommitError',
  'InvalidTransactionStateError',
];

/**
 * Compares what is saved with what the clients were answered.
 *
 * @returns what should not be; an empty list if all is well
 */
export function judge(
  rows: readonly SavedRow[],
  answers: readonly Answer[],
  scenario: Scenario,
  saved: Saved,
): Violation[] {
  return [
    ...answers.flatMap((answer) => judgeAnswer(rows, answer, scenario, saved)),
    ...judgePromises(rows, answers, scenario, saved),
    ...judgeTransactions(rows, scenario),
  ];
}

function judgeAnswer(
  rows: readonly SavedRow[],
  answer: Answer,
  scenario: Scenario,
  saved: Saved,
): Violation[] {
  const { key } = answer;
  // A row can be written only once, because its text is unique.
  const promised = [...new Set(scenario.written.get(key))];
  const texts = rows.map(({ text }) => text).filter((text) => promised.includes(text));
  const demand = demandOf(answer, saved, texts);
  if (demand === 'any') {
    return [];
  }
  if (demand === 'none') {
    return texts.map((text) => ({ what: 'of a failure', key, text }));
  }
  const missing = promised.filter((text) => !texts.includes(text));
  if (missing.length > 0) {
    return missing.map((text) => ({ what: 'missing', key, text }));
  }
  const misplaced = texts.find((text, index) => text !== promised[index]);
  return misplaced === undefined ? [] : [{ what: 'out of order', key, text: misplaced }];
}

/** Which of the rows that a request wrote have to be there. */
function demandOf(
  { status, errorBody }: Answer,
  saved: Saved,
  texts: readonly string[],
): 'all' | 'none' | 'any' {
  // No fault may lead to a success for lost work.
  if (status >= 200 && status < 300) {
    return 'all';
  }
  switch (saved) {
    case 'as known':
      return status === 0 || SAYS_MAY_STAND.includes(errorBody?.origin ?? '') ? 'any' : 'none';
    case 'all or nothing':
      return texts.length > 0 ? 'all' : 'none';
    case 'all':
      return 'all';
    default:
      return 'none';
  }
}

function judgePromises(
  rows: readonly SavedRow[],
  answers: readonly Answer[],
  scenario: Scenario,
  saved: Saved,
): Violation[] {
  const known = new Set(answers.map(({ key }) => key));
  return rows.flatMap(({ key, text }): Violation[] => {
    if (saved === 'nothing' || scenario.written.get(key)?.includes(text) !== true) {
      return [{ what: 'in vain', key, text }];
    }
    return known.has(key) ? [] : [{ what: 'of no request', key, text }];
  });
}

function judgeTransactions(rows: readonly SavedRow[], scenario: Scenario): Violation[] {
  const firstOf = new Map<string, string>();
  return rows.flatMap(({ key, text, xid }): Violation[] => {
    const violations: Violation[] = [];
    if (rows.some((other) => other.xid === xid && other.key !== key)) {
      violations.push({ what: 'in a foreign transaction', key, text });
    }
    if (scenario.transactions.get(key)?.has(xid) === false) {
      violations.push({ what: 'in an unknown transaction', key, text });
    }
    if ((firstOf.get(key) ?? xid) !== xid) {
      violations.push({ what: 'in a second transaction', key, text });
    }
    firstOf.set(key, xid);
    return violations;
  });
}
