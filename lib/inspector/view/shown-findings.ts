import type { FindingRecord, StatementRecord } from '../request-record.js';
import { rounded } from './summary.js';
import type { ShownFinding } from './view-types.js';

/** What each kind of finding is called on the page. */
const TITLES: Readonly<Record<string, string>> = {
  'open-too-long': 'Open for too long',
  'idle-in-transaction': 'Connection held while idle',
  'late-use': 'Work that nobody awaited',
  'concurrent-flush': 'Two flushes at once',
  'past-session': 'Written past the session',
  'lost-fork': 'Changes lost in a fork',
  'self-wait': 'Waits for itself',
};

/** What the watch has found. */
export function shownFinding(finding: FindingRecord, at: number): ShownFinding {
  const { kind, message, place } = finding;
  return { kind: 'finding', at, depth: 0, title: TITLES[kind] ?? kind, text: message, place };
}

/** That the same statement was sent again and again. */
export function shownRepeats(
  same: readonly StatementRecord[],
  where: Pick<ShownFinding, 'at' | 'depth'>,
): ShownFinding {
  const ms = rounded(same.reduce((sum, { durationMs = 0 }) => sum + durationMs, 0));
  return {
    kind: 'finding',
    ...where,
    title: `N+1: the same statement ${same.length} times`,
    text:
      `It took ${ms} ms in all, and as many round trips. Read what it reads at once: populate, a join, or a ` +
      'condition with $in.',
    place: same[0]?.place,
  };
}
