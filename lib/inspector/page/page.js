/** @import { RequestDetail, RequestSummary } from '../view/view-types.js' */
import { connect } from './connection.js';
import { backLink, detailNodes } from './detail.js';
import { element, replaceKeeping } from './dom.js';
import { RequestList } from './list.js';

const TITLE = document.title;

const main = /** @type {HTMLElement} */ (document.getElementById('main'));
const connection = /** @type {HTMLElement} */ (document.getElementById('connection'));
const list = new RequestList();
/** @type {number | undefined} the request that is shown; the list if there is none */
let shown;

/** @param {'Live' | 'Reconnecting'} state */
function showConnection(state) {
  if (connection.textContent !== state) {
    connection.textContent = state;
    connection.className = state === 'Live' ? 'live' : 'lost';
  }
}

/**
 * @param {'list' | 'changed'} event
 * @param {unknown} data
 */
function received(event, data) {
  if (event === 'list') {
    list.reset(/** @type {RequestSummary[]} */ (data));
    void refreshDetail();
    return;
  }
  const { changed, oldest } = /** @type {{ changed: RequestSummary[], oldest: number }} */ (data);
  list.update(changed);
  list.forgetBefore(oldest);
  if (changed.some(({ id }) => id === shown)) {
    void refreshDetail();
  }
}

async function refreshDetail() {
  const id = shown;
  if (id === undefined) {
    return;
  }
  const nodes = await load(id);
  // Another request may have been chosen in the meantime.
  if (shown === id) {
    replaceKeeping(main, nodes);
  }
}

/** @param {number} id */
async function load(id) {
  try {
    const answer = await fetch(new URL(`requests/${id}`, import.meta.url));
    if (answer.ok) {
      const detail = /** @type {RequestDetail} */ (await answer.json());
      document.title = `${detail.title} – ${TITLE}`;
      return detailNodes(detail);
    }
    return missing(
      answer.status === 404 ? 'This request is not kept any more.' : 'It was refused.',
    );
  } catch {
    return missing('The application cannot be reached.');
  }
}

/** @param {string} text */
function missing(text) {
  return [
    backLink(),
    element('h1', { tabindex: '-1', 'data-key': 'title' }, 'No request'),
    element('p', { class: 'empty' }, text),
  ];
}

async function route() {
  const before = shown;
  const id = Number(location.hash.slice(1));
  if (id > 0) {
    shown = id;
    await refreshDetail();
    if (shown === id) {
      main.querySelector('h1')?.focus();
    }
  } else {
    shown = undefined;
    document.title = TITLE;
    main.replaceChildren(...list.nodes());
    if (before !== undefined) {
      list.focus(before);
    }
  }
}

addEventListener('hashchange', () => void route());
addEventListener('keydown', ({ key }) => {
  if (key === 'Escape' && shown !== undefined) {
    location.hash = '';
  }
});
main.replaceChildren(...list.nodes());
void route();
connect({
  received,
  isNow: showConnection,
  refused: ({ text, isForbidden }) => {
    if (isForbidden) {
      list.forgetAll();
      void refreshDetail();
    }
    list.fail(text);
  },
});
