import { channel } from 'node:diagnostics_channel';

import {
  callers,
  placeHere,
  placeOfPublisher,
  showsApplication,
} from '../../lib/telemetry/place.js';
import { withPrepareStackTrace } from '../support/prepare-stack-trace.js';

/** The place that publishes an event. */
function publish(): ReturnType<typeof placeOfPublisher> {
  const events = channel('place.spec');
  let place: ReturnType<typeof placeOfPublisher> | undefined;
  const listener = (): void => {
    place = placeOfPublisher();
  };
  events.subscribe(listener);
  events.publish({});
  events.unsubscribe(listener);
  return place!;
}

describe('a place in the code', () => {
  it.each<[string, (error: Error, frames: NodeJS.CallSite[]) => unknown]>([
    ['a list of frames', (_error, frames) => frames],
    ['nothing', () => null],
    ['an object', () => ({ split: 'not a function' })],
    [
      'an error',
      () => {
        throw new Error('of prepareStackTrace');
      },
    ],
  ])('O1: is empty where Error.prepareStackTrace gives %s', async (_what, prepare) => {
    await withPrepareStackTrace(prepare, () => {
      for (const place of [placeHere(), publish()]) {
        expect(place.stack).toBe('');
        expect(callers(place)).toBe('');
        expect(showsApplication(place)).toBe(false);
      }
    });
  });

  it('O1: is empty where the depth of stacks cannot be set', () => {
    const { stackTraceLimit } = Error;
    Object.defineProperty(Error, 'stackTraceLimit', { value: 0, writable: false });
    try {
      expect(callers(placeHere())).toBe('');
    } finally {
      Object.defineProperty(Error, 'stackTraceLimit', { value: stackTraceLimit, writable: true });
    }
  });

  it('O1: is a line of the code that publishes', () => {
    expect(callers(publish())).toMatch(/^\s+at publish \(.*place\.spec\.ts:/);
    expect(callers(placeHere())).toMatch(/^\s+at .*place\.spec\.ts:/);
  });
});
