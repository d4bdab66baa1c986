/** @import { RequestSummary } from '../view/view-types.js' */
import { findingsChip, outcomeChip, statusText } from './chips.js';
import { element } from './dom.js';
import { duration, OUTCOMES, timeOfDay } from './format.js';

/**
 * @typedef {object} Column
 * @property {string} name
 * @property {boolean} [isNumber] whether it is set to the right, and sorted from the greatest on
 * @property {(summary: RequestSummary) => number | string} valueOf what it is sorted by
 * @property {(cell: HTMLTableCellElement, summary: RequestSummary) => void} fill
 */

/** @type {readonly [Column, ...Column[]]} */
export const COLUMNS = [
  { name: 'Request', valueOf: ({ title }) => title, fill: fillRequest },
  {
    name: 'Status',
    valueOf: ({ status }) => status ?? 0,
    fill: (cell, summary) => cell.replaceChildren(statusText(summary)),
  },
  {
    name: 'Outcome',
    valueOf: ({ outcome }) => OUTCOMES[outcome].text,
    fill: (cell, { outcome }) => cell.replaceChildren(outcomeChip(outcome)),
  },
  timeColumn('Total', ({ durationMs }) => durationMs),
  {
    name: 'Statements',
    isNumber: true,
    valueOf: ({ statements }) => statements,
    fill: (cell, { statements }) => cell.replaceChildren(`${statements}`),
  },
  timeColumn('In transaction', ({ transactionMs }) => transactionMs),
  timeColumn('Waited', ({ waitMs }) => waitMs),
  {
    name: 'Time',
    isNumber: true,
    // Two may have begun in the same millisecond.
    valueOf: ({ id }) => id,
    fill: (cell, { at }) =>
      cell.replaceChildren(
        element('time', { datetime: new Date(at).toISOString() }, timeOfDay(at)),
      ),
  },
];

/**
 * @param {string} name
 * @param {(summary: RequestSummary) => number} msOf
 * @returns {Column}
 */
function timeColumn(name, msOf) {
  return {
    name,
    isNumber: true,
    valueOf: msOf,
    fill: (cell, summary) => {
      const ms = msOf(summary);
      cell.replaceChildren(ms === 0 ? '' : duration(ms));
    },
  };
}

/**
 * @param {HTMLTableCellElement} cell
 * @param {RequestSummary} summary
 */
function fillRequest(cell, { id, title, origin, attempts, findings }) {
  const link = cell.querySelector('a') ?? element('a', { href: `#${id}` });
  link.textContent = title;
  // The link stays where it is, as it may have the focus.
  while (link.nextSibling !== null) {
    link.nextSibling.remove();
  }
  if (link.parentNode === null) {
    cell.append(link);
  }
  const remark = [origin === title ? '' : origin, attempts > 1 ? `${attempts} attempts` : '']
    .filter(Boolean)
    .join(', ');
  cell.append(
    ...[findingsChip(findings), element('small', {}, remark)].filter((each) => each !== undefined),
  );
}
