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
    this.#unfinished++;
    const result = this.#tail.then(task).finally(() => this.#unfinished--);
    this.#tail = result.catch(() => undefined);
    return result;
  }
}
