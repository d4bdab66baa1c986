/** @import { RequestDetail, ShownReason } from '../view/view-types.js' */
import { outcomeChip, statusText } from './chips.js';
import { element } from './dom.js';
import { duration, timeOfDay } from './format.js';
import { findingNote, waterfall } from './waterfall.js';

/**
 * The view of one request.
 *
 * @param {RequestDetail} detail
 */
export function detailNodes(detail) {
  const { title, connections, unplaced, reasons } = detail;
  const totalMs = Math.max(detail.durationMs, ...connections.flatMap(endsOf), 0.1);
  return [
    backLink(),
    element('h1', { tabindex: '-1', 'data-key': 'title' }, title),
    facts(detail),
    ...(reasons.length === 0 ? [] : [why(detail.outcome, reasons)]),
    ...unplaced.map((finding) => element('div', { class: 'box found' }, ...findingNote(finding))),
    ...connections.map((connection) => database(connection, totalMs)),
    ...(connections.length === 0
      ? [element('p', { class: 'empty' }, 'It has sent nothing to a database.')]
      : []),
  ];
}

/** The way back to the list. */
export function backLink() {
  return element('p', { class: 'back' }, element('a', { href: '#' }, '← All requests'));
}

/** @param {RequestDetail['connections'][number]} connection */
function endsOf({ transactions }) {
  return transactions.flatMap(({ rows }) =>
    rows.map((row) => row.at + (row.kind === 'finding' ? 0 : row.ms)),
  );
}

/** @param {RequestDetail} detail */
function facts(detail) {
  const { outcome, origin, statements, transactionMs, waitMs, durationMs, attempts, at } = detail;
  /** @type {readonly (readonly [string, string | Node])[]} */
  const all = [
    ['Outcome', outcomeChip(outcome)],
    ['Status', statusText(detail)],
    ['Total', duration(durationMs)],
    ['Waited for a connection', duration(waitMs)],
    ['In transaction', duration(transactionMs)],
    ['Statements', `${statements}`],
    ['Attempts', attempts > 1 ? `${attempts}` : ''],
    ['Served by', origin ?? ''],
    ['At', timeOfDay(at)],
  ];
  return element(
    'dl',
    { class: 'facts' },
    ...all
      .filter(([, value]) => value !== '')
      .map(([name, value]) =>
        element('div', {}, element('dt', {}, name), element('dd', {}, value)),
      ),
  );
}

/**
 * @param {RequestDetail['outcome']} outcome
 * @param {readonly ShownReason[]} reasons
 */
function why(outcome, reasons) {
  const title = outcome === 'unknown' ? 'Why nobody knows how it ended' : 'Why it was rolled back';
  return element(
    'section',
    { class: 'box why', 'aria-labelledby': 'why' },
    element('h2', { id: 'why' }, title),
    ...reasons.map(({ text, error }) =>
      element(
        'p',
        {},
        error === undefined ? text : `${text}: `,
        error && element('strong', {}, error.name),
        error?.code === undefined ? undefined : element('code', {}, ` ${error.code}`),
        error?.reason === undefined ? undefined : element('code', {}, ` (${error.reason})`),
        error === undefined || error.message === '' ? undefined : ` ${error.message}`,
        error?.cause && element('small', {}, `Cause: ${errorText(error.cause)}`),
      ),
    ),
  );
}

/** @param {Pick<NonNullable<ShownReason['error']>, 'name' | 'code' | 'message'>} error */
function errorText({ name, code, message }) {
  return [name, code, message].filter(Boolean).join(' ');
}

/**
 * @param {RequestDetail['connections'][number]} connection
 * @param {number} totalMs
 */
function database({ name, database: databaseName, host, transactions }, totalMs) {
  const id = `connection-${name}`;
  return element(
    'section',
    { class: 'connection', 'aria-labelledby': id },
    element(
      'h2',
      { id },
      name,
      element(
        'small',
        {},
        ` ${databaseName ?? ''}${databaseName === undefined ? '' : ' at '}${host}`,
      ),
    ),
    ...transactions.flatMap((transaction, index) =>
      waterfall(transaction, {
        key: `${name}/${index}`,
        label: `${name}${transactions.length > 1 ? `, ${index + 1} of ${transactions.length}` : ''}`,
        totalMs,
      }),
    ),
  );
}
