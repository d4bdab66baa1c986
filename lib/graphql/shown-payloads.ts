import { shownAnswer, type Answer } from './answer.js';
import { SettledEvents } from './settled-events.js';

/** The payloads of an answer (`@defer`, `@stream`), each as its client may read it. */
export function shownPayloads(payloads: AsyncIterable<unknown>): AsyncIterable<Answer> {
  return new SettledEvents(shownAnswer, payloads[Symbol.asyncIterator]() as AsyncIterator<Answer>);
}
