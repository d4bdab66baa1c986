/** @import { StreamsState } from '../view/view-types.js' */

/** After which time a stream that was refused is asked for again. */
const REFUSED_RETRY_MS = 3_000;

/**
 * @typedef {object} StreamListener
 * @property {(event: 'list' | 'changed', data: unknown) => void} received
 * @property {(state: 'Live' | 'Reconnecting') => void} isNow
 * @property {(why: Refusal) => void} refused
 */

/**
 * @typedef {object} Refusal
 * @property {string} text as a sentence
 * @property {boolean} isForbidden whether a guard has refused it
 */

/**
 * Reads the stream of the inspector, and asks for it again where it ends.
 *
 * @param {StreamListener} listener
 */
export function connect(listener) {
  const source = new EventSource(new URL('stream', import.meta.url));
  source.addEventListener('open', () => listener.isNow('Live'));
  for (const name of /** @type {const} */ (['list', 'changed'])) {
    source.addEventListener(name, ({ data }) => listener.received(name, JSON.parse(data)));
  }
  // A stream does not live long, so that guards are asked again.
  source.addEventListener('renew', () => {
    source.close();
    connect(listener);
  });
  source.addEventListener('error', () => {
    listener.isNow('Reconnecting');
    // A browser tries again by itself, unless the server has refused it.
    if (source.readyState === EventSource.CLOSED) {
      void whyRefused().then(listener.refused);
      setTimeout(() => connect(listener), REFUSED_RETRY_MS);
    }
  });
}

/**
 * Browsers do not say why a stream was refused.
 *
 * @returns {Promise<Refusal>}
 */
async function whyRefused() {
  try {
    const answer = await fetch(new URL('state', import.meta.url));
    if (!answer.ok) {
      const text = because(`the application has refused it with the status ${answer.status}`);
      return { text, isForbidden: [401, 403].includes(answer.status) };
    }
    const { open, most } = /** @type {StreamsState} */ (await answer.json());
    const text = because(
      open >= most ? `${most} pages have it open, and no more can` : 'the application was busy',
    );
    return { text, isForbidden: false };
  } catch {
    return { text: because('the application cannot be reached'), isForbidden: false };
  }
}

/** @param {string} why */
function because(why) {
  return `The list cannot be loaded: ${why}. It is tried again every ${REFUSED_RETRY_MS / 1_000} seconds.`;
}
