/** One task at a time, in the order of the calls: `pg` 9 takes no overlapping queries on a client. */
export class StatementQueue {
  #tail: Promise<unknown> = Promise.resolve();
  #unfinished = 0;

  /** Number of tasks that are running or waiting. */
  get unfinished(): number {
    return this.#unfinished;
  }

  /** Resolves when all tasks that are in the queue now have ended. */
  get drained(): Promise<unknown> {
    return this.#tail;
  }

  add<T>(task: () => Promise<T>): Promise<T> {
    const run = async (): Promise<T> => {
      try {
        return await task();
      } finally {
        this.#unfinished--;
      }
    };
    // At once where nothing is before it: each turn through the queue costs a request time.
    const result = this.#unfinished++ === 0 ? run() : this.#tail.then(run);
    this.#tail = result.then(ignore, ignore);
    return result;
  }
}

const ignore = (): void => undefined;
