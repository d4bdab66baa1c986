import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';

/** One of the tests that run at the same time on one application; work that belongs to it knows it. */
export class TestOwner {
  /** Names the test where its work is not in its async context: in a header, in the data of a job. */
  readonly token: string = randomUUID();
  isOver = false;
  /** Whether the test has failed, so that the fate of its late work is no news. */
  hasFailed = false;

  /**
   * @param block the `useTestTransaction()` that it is a test of
   * @param name what the test runner calls it
   */
  constructor(
    readonly block: object,
    readonly name: string,
  ) {}
}

/** Stands for the test of a request whose token no test of the application has. */
export class UnknownOwner extends TestOwner {
  override readonly isOver = true;

  constructor(
    block: object,
    override readonly token: string,
  ) {
    super(block, 'unknown');
  }
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
  return ownerAmong(new Set([block]));
}

/** The test that the current code belongs to, of those of several blocks. */
export function ownerAmong(blocks: ReadonlySet<object>): TestOwner | undefined {
  for (let each = storage.getStore(); each !== undefined; each = each.outer) {
    if (each.owner !== undefined && blocks.has(each.block)) {
      return each.owner;
    }
  }
  return undefined;
}

/** Runs `work` as part of a test of `block`; with `undefined`, as part of none. */
export function runOwned<T>(block: object, owner: TestOwner | undefined, work: () => T): T {
  return storage.run({ block, owner, outer: without(block, storage.getStore()) }, work);
}

function without(block: object, ownership: Ownership | undefined): Ownership | undefined {
  if (ownership === undefined) {
    return undefined;
  }
  const outer = without(block, ownership.outer);
  return ownership.block === block ? outer : { ...ownership, outer };
}
