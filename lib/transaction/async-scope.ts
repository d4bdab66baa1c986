import { AsyncLocalStorage } from 'node:async_hooks';

/** One storage for all kinds of scopes: a look at it is a look at all that the code runs inside of. */
const storage = new AsyncLocalStorage<AsyncScope>();

/**
 * Something that code runs inside of, across every `await`: the hooks of a BEGIN, a nested
 * transaction, the end of a session. Scopes lie inside of one another.
 */
export abstract class AsyncScope {
  /** Whether what it stands for has ended. Code that nobody awaited may still run inside of it. */
  isOver = false;
  #outer: AsyncScope | undefined;
  /** The first one further out that is of another class; those between are as deep as code nests transactions. */
  #outerOfOtherClass: AsyncScope | undefined;

  /**
   * The innermost scope of a kind that the current code runs in.
   *
   * @param matches which ones of that kind are meant
   */
  static innermost<S extends AsyncScope>(
    kind: abstract new (...args: never[]) => S,
    matches: (scope: S) => boolean,
  ): S | undefined {
    let scope = storage.getStore();
    while (scope !== undefined) {
      if (!(scope instanceof kind)) {
        scope = scope.#outerOfOtherClass;
      } else if (matches(scope)) {
        return scope;
      } else {
        scope = scope.#outer;
      }
    }
    return undefined;
  }

  /** Whether the current code runs in any scope at all, which most code does not. */
  static get isEmpty(): boolean {
    return storage.getStore() === undefined;
  }

  /** Runs `callback` inside of this scope. */
  enter<T>(callback: () => T): T {
    let outer = storage.getStore();
    // A job that starts itself again from within would otherwise keep the scopes of all its runs.
    while (outer?.isOver === true) {
      outer = outer.#outer;
    }
    this.#outer = outer;
    this.#outerOfOtherClass =
      outer?.constructor === this.constructor ? outer.#outerOfOtherClass : outer;
    return storage.run(this, callback);
  }

  /** Runs `work` inside of this scope, which is over when `work` has returned. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await this.enter(work);
    } finally {
      this.isOver = true;
    }
  }
}
