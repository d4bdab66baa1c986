import { Readable } from 'node:stream';

import type { StreamOptions } from '../context/stream-options.js';
import type { HookList } from './hook-list.js';

/**
 * A stream that runs its hooks as it ends, without a database.
 *
 * @param inside runs the source with its own hooks as the current ones
 */
export function streamDouble(
  source: (signal: AbortSignal) => AsyncIterable<unknown>,
  hooks: HookList,
  inside: <R>(work: () => R) => R,
  { objectMode = false, highWaterMark }: StreamOptions,
): Readable {
  const controller = new AbortController();
  const read = async function* (): AsyncGenerator<unknown, void> {
    let isOver = false;
    try {
      const values = inside(() => source(controller.signal)[Symbol.asyncIterator]());
      for (;;) {
        const { done, value } = await inside(() => values.next());
        if (done === true) {
          break;
        }
        yield value;
      }
      isOver = true;
      await inside(() => hooks.commit());
    } finally {
      if (!isOver) {
        controller.abort();
        await inside(() => hooks.rollBack());
      }
    }
  };
  return Readable.from(read(), {
    objectMode,
    ...(highWaterMark !== undefined && { highWaterMark }),
  });
}
