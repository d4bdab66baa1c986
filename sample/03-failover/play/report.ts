import type { Outcome } from './clients.js';

/** What it came to. */
export interface Summary {
  readonly acknowledged: number;
  /** Of the acknowledged, those that are on the new primary. */
  readonly found: number;
  readonly missing: number;
  /** On the new primary although their clients were told of an error. */
  readonly savedUnacknowledged: number;
  /** How many requests failed, by error. */
  readonly failed: Readonly<Record<string, number>>;
  /** Of them, those that were sent after the promotion. */
  readonly failedAfterPromotion: number;
  readonly withoutPrimaryMs: number;
  readonly promotionToSuccessMs: number;
}

/** One line of the live account. */
export function accountLine(elapsedMs: number, outcomes: readonly Outcome[], host: string): string {
  const failed = outcomes.flatMap(({ error }) => error ?? []);
  const ok = `${outcomes.length - failed.length}`.padStart(5);
  const errors = failed.length === 0 ? '' : `  (${list(countEach(failed))})`;
  return `${at(elapsedMs)}  ok ${ok}  failed ${`${failed.length}`.padStart(4)}  on ${host}${errors}`;
}

/** What happens to the servers. */
export function eventLine(elapsedMs: number, event: string): string {
  return `${at(elapsedMs)}  --- ${event}`;
}

export function summaryText(summary: Summary): string {
  const failed = Object.values(summary.failed).reduce((sum, count) => sum + count, 0);
  return [
    '',
    `acknowledged writes         ${summary.acknowledged}`,
    `found on the new primary    ${summary.found}`,
    `missing                     ${summary.missing}`,
    `failed requests             ${failed} (${list(summary.failed)})`,
    `  saved nevertheless        ${summary.savedUnacknowledged}`,
    `  sent after the promotion  ${summary.failedAfterPromotion}`,
    `time without a primary      ${Math.round(summary.withoutPrimaryMs)} ms`,
    `promotion to first success  ${Math.round(summary.promotionToSuccessMs)} ms`,
  ].join('\n');
}

export function countEach(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) {
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

function list(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ');
}

function at(elapsedMs: number): string {
  return `${(elapsedMs / 1_000).toFixed(1).padStart(5)} s`;
}
