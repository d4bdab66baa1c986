import type { Holder } from '../connection/claim.js';
import type { Keeping } from './keeping.js';

/**
 * What is undone together in a shared transaction: the whole of it, a block of tests in it, or one test.
 * Layers lie inside of one another.
 */
export class Layer {
  /** The savepoint that it began with; `undefined` for the whole transaction. */
  readonly savepoint: string | undefined;
  /** The holder of the test's own session, inside of which everything else runs. */
  readonly holder: Holder = { outer: undefined };
  /**
   * Why no statement of it is sent any more: it has ended, or would show what production does not. The error
   * is made for a statement that is refused, since an error costs a good part of the end of a test.
   */
  refusedFor: string | undefined;
  /** Its end, which is under way or over. */
  ending: Promise<void> | undefined;
  /** Set where the whole transaction is to be committed for real at its end rather than undone. */
  keeping: Keeping | undefined;
  /** Whether it has ended, and what was done in it is undone. */
  isOver = false;

  constructor(savepoint: string | undefined) {
    this.savepoint = savepoint;
  }
}
