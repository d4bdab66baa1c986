/** @import { ShownFinding, ShownRow, ShownSpan, ShownTransaction } from '../view/view-types.js' */
import { outcomeChip, WARNING_SIGN } from './chips.js';
import { element } from './dom.js';
import { foldedRows, WATERFALL_COLUMNS } from './folded-rows.js';
import { counted, duration } from './format.js';

/**
 * @typedef {object} Frame
 * @property {string} key what is unique to the transaction
 * @property {string} label its name
 * @property {number} totalMs how long the axis is, which all waterfalls of a request share
 */

/**
 * A transaction as a table: a row for each thing that took time, with a bar on an axis.
 *
 * @param {ShownTransaction} transaction
 * @param {Frame} frame
 */
export function waterfall(transaction, frame) {
  const { rows } = transaction;
  return [
    heading(transaction),
    element(
      'table',
      { class: 'waterfall' },
      element('caption', { class: 'unseen' }, `What was sent to ${frame.label}`),
      element(
        'colgroup',
        {},
        ...['what', 'at', 'took', 'rows', 'bars'].map((name) => element('col', { class: name })),
      ),
      element(
        'thead',
        {},
        element(
          'tr',
          {},
          element('th', { scope: 'col' }, 'What'),
          element('th', { scope: 'col', class: 'number at' }, 'At'),
          element('th', { scope: 'col', class: 'number' }, 'Took'),
          element('th', { scope: 'col', class: 'number rows' }, 'Rows'),
          element('th', { scope: 'col' }, axis(frame.totalMs)),
        ),
      ),
      element(
        'tbody',
        {},
        ...foldedRows(rows, frame.key, (row, index) =>
          rowOf(row, `${frame.key}/${index}`, frame.totalMs),
        ),
      ),
    ),
  ];
}

/** @param {ShownTransaction} transaction */
function heading({ isNone, outcome, ms, waitMs, isolationLevel, isReadOnly, processId, left }) {
  const notKept = left === 0 ? undefined : `${counted(left, 'more statement')} not kept`;
  const remarks = [
    isolationLevel,
    isReadOnly === true ? 'read only' : undefined,
    processId === undefined ? undefined : `backend ${processId}`,
    notKept,
  ].filter((each) => each !== undefined);
  return element(
    'h3',
    {},
    ...(isNone
      ? ['In no transaction']
      : [
          outcomeChip(outcome),
          ` waited ${duration(waitMs)} for a connection, in transaction ${duration(ms)}`,
        ]),
    element('small', {}, remarks.length === 0 ? '' : ` ${remarks.join(', ')}`),
  );
}

/** @param {number} totalMs */
function axis(totalMs) {
  return element(
    'div',
    { class: 'axis' },
    element('span', { class: 'unseen' }, 'Timeline, from '),
    element('span', { class: 'zero' }, '0'),
    element('span', {}, duration(totalMs)),
  );
}

/**
 * @param {ShownRow} row
 * @param {string} key
 * @param {number} totalMs
 */
function rowOf(row, key, totalMs) {
  if (row.kind === 'finding') {
    const cell = element('td', { colspan: `${WATERFALL_COLUMNS}` }, ...findingNote(row));
    indent(cell, row.depth);
    return element('tr', { class: 'finding' }, cell);
  }
  const bar = element('div', {
    class: `bar ${row.kind}${row.error === undefined ? '' : ' failed'}`,
  });
  bar.style.setProperty('--from', `${(row.at / totalMs) * 100}%`);
  bar.style.setProperty('--length', `${(row.ms / totalMs) * 100}%`);
  const what = element('th', { scope: 'row' }, ...whatOf(row, key));
  indent(what, row.depth);
  return element(
    'tr',
    { class: row.kind },
    what,
    element('td', { class: 'number at' }, duration(row.at)),
    element('td', { class: 'number' }, row.isRunning ? '…' : duration(row.ms)),
    element('td', { class: 'number rows' }, row.rows?.toString() ?? ''),
    element('td', { class: 'track' }, bar),
  );
}

/**
 * @param {HTMLElement} cell
 * @param {number} depth
 */
function indent(cell, depth) {
  cell.style.setProperty('--depth', `${depth}`);
}

/**
 * @param {ShownSpan} row
 * @param {string} key
 */
function whatOf(row, key) {
  const { text, begins, commits, error, place, note, repeat, values, kind } = row;
  const isSql = ['statement', 'question', 'begin', 'commit', 'rollback'].includes(kind);
  const line = [
    repeat && element('span', { class: 'tag repeat' }, `${repeat.number} of ${repeat.count}`),
    begins === true ? element('span', { class: 'tag' }, 'BEGIN') : undefined,
    element(isSql ? 'code' : 'span', {}, text),
    commits === true ? element('span', { class: 'tag' }, 'COMMIT') : undefined,
  ];
  const remarks = [
    place === undefined ? undefined : shortPlace(place),
    note,
    kind === 'question' ? 'asked by the library itself' : undefined,
  ].filter((each) => each !== undefined);
  return [
    // What is long is cut to one line, and shown in full where it is opened.
    isSql && kind !== 'commit' && kind !== 'rollback' && kind !== 'begin'
      ? element(
          'details',
          { 'data-key': key },
          element('summary', {}, ...line),
          element('small', {}, place ?? ''),
        )
      : element('div', {}, ...line),
    ...(values === undefined ? [] : [element('small', { class: 'values' }, `with ${values}`)]),
    ...(remarks.length === 0 ? [] : [element('small', {}, remarks.join(' · '))]),
    ...(error === undefined
      ? []
      : [element('small', { class: 'error' }, `${error.code ?? error.name} ${error.message}`)]),
  ];
}

/**
 * A place without its folders, and without its column.
 *
 * @param {string} place `OrdersService.list (src/orders/orders.service.ts:42:10)`
 */
function shortPlace(place) {
  return place.replace(/\(?(?:[^()]*[\\/])?([^\\/()]+):(\d+):\d+\)?$/, '$1:$2');
}

/**
 * What was found, as words.
 *
 * @param {ShownFinding} finding
 */
export function findingNote({ title, text, place }) {
  return [
    element('strong', {}, `${WARNING_SIGN} ${title}`),
    // It ends with what was done at the place that follows.
    element('span', {}, ` ${text}${place === undefined || text.endsWith('.') ? '' : ':'}`),
    ...(place === undefined ? [] : [element('small', {}, place)]),
  ];
}
