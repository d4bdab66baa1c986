import type { Setup } from './setup.js';
import type { Handler } from './work.js';
import type { Answer, World } from './world.js';

export const TIMES = 20;

/** One row of the table. */
export interface Fault extends Setup {
  readonly title: string;
  /** The specs that prove what the library does, by their path from the root of the repository. */
  readonly proofs: readonly string[];
  /** What each request does. */
  readonly handler: (world: World) => Handler;
  /** Before the requests. */
  readonly arrange?: (world: World) => unknown;
  /** How a client asks, where it does not just wait for its answer. */
  readonly ask?: (world: World, key: string) => Promise<Answer>;
  /** Further requests, until those of the fault are answered. */
  readonly meanwhile?: (world: World, isOver: () => boolean) => Promise<readonly Answer[]>;
  /** Keeps the fault from happening to the requests that come after it. */
  readonly stop?: (world: World) => unknown;
  /** What else there is to count, with what it is. */
  readonly count?: (world: World, answers: readonly Answer[]) => readonly [number, string];
}
