/** @import { RequestSummary, ShownOutcome } from '../view/view-types.js' */
import { element } from './dom.js';
import { counted, OUTCOMES } from './format.js';

/** The sign of a finding, which is followed by words. */
export const WARNING_SIGN = '⚠';

/**
 * How something has ended, as a word and a colour.
 *
 * @param {ShownOutcome} outcome
 */
export function outcomeChip(outcome) {
  const { sign, text } = OUTCOMES[outcome];
  return element(
    'span',
    { class: `chip ${outcome}` },
    element('span', { 'aria-hidden': 'true' }, sign),
    element('span', { class: 'word' }, ` ${text}`),
  );
}

/**
 * The status of an answer, or why there is none.
 *
 * @param {RequestSummary} summary
 */
export function statusText({ status, isAbandoned }) {
  return isAbandoned ? 'client left' : (status?.toString() ?? '');
}

/** @param {number} findings */
export function findingsChip(findings) {
  return findings === 0
    ? undefined
    : element('span', { class: 'chip found' }, `${WARNING_SIGN} ${counted(findings, 'finding')}`);
}
