import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';

/** One of the tests that run at the same time on one application; work that belongs to it knows it. */
export class TestOwner {
  /** Names the test where its work is not in its async context: in a header, in the data of a job. */
  readonly token = randomUUID();
  isOver = false;
}

/** Stands for all tests that have ended, and for those of other processes. */
export function endedOwner(): TestOwner {
  return Object.assign(new TestOwner(), { isOver: true });
}

/** What the current code belongs to. */
interface Ownership {
  /** The tests of one `useTestTransaction()`; those of two applications do not see one another. */
  readonly block: object;
  /** `undefined` for what belongs to none of them, whatever it was started by. */
  readonly owner: TestOwner | undefined;
  readonly outer: Ownership | undefined;
}

const storage = new AsyncLocalStorage<Ownership>();

/** The test of `block` that the current code belongs to. */
export function ownerIn(block: object): TestOwner | undefined {
  let ownership = storage.getStore();
  while (ownership !== undefined && ownership.block !== block) {
    ownership = ownership.outer;
  }
  return ownership?.owner;
}

/** Runs `work` as part of a test of `block`; with `undefined`, as part of none. */
export function runOwned<T>(block: object, owner: TestOwner | undefined, work: () => T): T {
  return storage.run(within(block, owner), work);
}

function within(block: object, owner: TestOwner | undefined): Ownership {
  const outer = storage.getStore();
  return { block, owner, outer: outer?.block === block ? outer.outer : outer };
}
