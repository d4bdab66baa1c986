import type { EntityManager } from '@mikro-orm/postgresql';

import type { Side } from '../curve.js';
import type { AccountClass } from './entities.js';

/** A part of a unit of work. */
export type Part<T> = (em: EntityManager) => Promise<T>;

/** One side, with one or more databases. What a unit of work does is the same for both sides. */
export interface Stand {
  readonly side: Side;
  /** The class of `account` of each database. */
  readonly accounts: readonly AccountClass[];
  /** The manager that services have from the beginning; hand-written they get it from their callers. */
  readonly injected: EntityManager | undefined;
  /** Runs a unit of work on the first database, and ends it. */
  run<T>(part: Part<T>): Promise<T>;
  /** Runs a unit of work on the first `count` databases, and ends it. */
  runOnEach(
    count: number,
    part: (em: EntityManager, index: number) => Promise<void>,
  ): Promise<void>;
  /** Holds a unit of work open that has sent nothing, until `over`. */
  hold(over: Promise<void>): Promise<void>;
  close(): Promise<void>;
}
