import type { SavedRow } from './fault-database.js';
import { IN_VAIN, type Scenario } from './work.js';
import type { Answer } from './world.js';

/** What is wrong with what was saved, and with what was said of it. */
export interface Verdict {
  /** Rows that a request wrote which succeeded, and that are not there. */
  readonly missing: number;
  /** Rows of requests that failed without saying that the outcome is unknown. */
  readonly ofFailed: number;
  /** Rows of work that was undone, or that came after the end of its transaction. */
  readonly inVain: number;
  /** Of those, how many lie in the transaction of another request. */
  readonly foreign: number;
  /** Requests that were told what is not true: a success for lost work, a failure for saved work. */
  readonly lied: number;
}

const SAYS_UNKNOWN = ['CommitOutcomeUnknownError', 'PartialCommitError'];

export function judge(
  rows: readonly SavedRow[],
  answers: readonly Answer[],
  scenario: Scenario,
): Verdict {
  const saved = new Set(rows.map(({ text }) => text));
  let missing = 0;
  let ofFailed = 0;
  let lied = 0;
  for (const { key, status, error } of answers) {
    const texts = [...(scenario.written.get(key) ?? [])];
    const there = texts.filter((text) => saved.has(text)).length;
    if (status !== undefined && status < 400) {
      missing += texts.length - there;
      lied += texts.length > there ? 1 : 0;
    } else if (status !== undefined && !SAYS_UNKNOWN.includes(error ?? '')) {
      ofFailed += there;
      lied += there > 0 ? 1 : 0;
    }
  }
  const inVain = rows.filter(({ text }) => text.endsWith(IN_VAIN));
  const foreign = inVain.filter((row) =>
    rows.some(({ key, xid }) => xid === row.xid && key !== row.key),
  );
  return { missing, ofFailed, inVain: inVain.length, foreign: foreign.length, lied };
}
