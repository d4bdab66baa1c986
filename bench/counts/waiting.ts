import type { Side } from '../growth/curve.js';
import { startChild } from '../http/child.js';

/** What one unit of work takes that waits for a connection. */
export interface WaitingCounts {
  /** The promises that it makes in all, to its end. */
  readonly promises: number;
  /** The heap that it takes while it waits. */
  readonly bytes: number;
  /** The same where it waits with BEGIN, so that no statement is held. */
  readonly bytesAtBegin: number;
}

/** Counts them in a process of its own, see `waiting.server.ts`. */
export async function countWaiting(side: Side): Promise<WaitingCounts> {
  const file = new URL('waiting.server.js', import.meta.url);
  return (await startChild(file, [side], ['--expose-gc'])).hello as WaitingCounts;
}
