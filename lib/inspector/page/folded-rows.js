/** @import { ShownRow, ShownSpan } from '../view/view-types.js' */
import { element } from './dom.js';
import { duration } from './format.js';

/** How many columns a waterfall has. */
export const WATERFALL_COLUMNS = 5;
/** How many of the same statement are always shown. */
const SHOWN = 3;
/** From how many times on the rest is folded. */
const FOLDED_FROM = 10;

/**
 * @typedef {object} Fold
 * @property {HTMLTableRowElement[]} nodes the rows that it puts away
 * @property {number} ms how long their statements took
 * @property {HTMLButtonElement} button
 * @property {HTMLTableRowElement} row the row of the button
 */

/**
 * Rows of a waterfall, of which those that show the same statement again and again are put away behind a
 * button.
 *
 * @param {readonly ShownRow[]} rows
 * @param {string} key what is unique to the transaction
 * @param {(row: ShownRow, index: number) => HTMLTableRowElement} rowOf
 */
export function foldedRows(rows, key, rowOf) {
  /** @type {Map<number, Fold>} */
  const folds = new Map();
  const nodes = rows.flatMap((row, index) => {
    const node = rowOf(row, index);
    if (row.kind === 'finding' || !isFolded(row)) {
      return [node];
    }
    const group = row.repeat?.group ?? 0;
    const fold = folds.get(group);
    node.hidden = true;
    if (fold !== undefined) {
      fold.nodes.push(node);
      fold.ms += row.ms;
      return [node];
    }
    const made = newFold(node, row.ms, `${key}/fold/${group}`);
    folds.set(group, made);
    return [made.row, node];
  });
  folds.forEach(({ button, nodes: folded, ms }) =>
    button.append(`${folded.length} more of the same statement, ${duration(ms)} in all`),
  );
  return nodes;
}

/** @param {ShownSpan} row */
function isFolded({ repeat, error, isRunning }) {
  return (
    repeat !== undefined &&
    repeat.count >= FOLDED_FROM &&
    repeat.number > SHOWN &&
    error === undefined &&
    !isRunning
  );
}

/**
 * @param {HTMLTableRowElement} first
 * @param {number} ms
 * @param {string} key
 * @returns {Fold}
 */
function newFold(first, ms, key) {
  const nodes = [first];
  const button = element('button', { type: 'button', 'aria-expanded': 'false', 'data-key': key });
  button.addEventListener('click', () => {
    const isExpanded = button.getAttribute('aria-expanded') !== 'true';
    button.setAttribute('aria-expanded', `${isExpanded}`);
    nodes.forEach((node) => {
      node.hidden = !isExpanded;
    });
  });
  const cell = element('td', { colspan: `${WATERFALL_COLUMNS}` }, button);
  return { nodes, ms, button, row: element('tr', { class: 'fold' }, cell) };
}
