/** Lets one task at a time through, in the order of the calls (F3, F5). */
export class SerialQueue {
  #isTaken = false;
  /** Made for the first one that has to wait. */
  #waiting: (() => void)[] | undefined;

  /** Number of tasks that run or wait. */
  get unfinished(): number {
    return (this.#isTaken ? 1 : 0) + (this.#waiting?.length ?? 0);
  }

  /**
   * Takes the turn; each turn that was taken is ended with {@link SerialQueue.leave}.
   *
   * @returns what to wait for, or `undefined` where the turn is free: most statements of a request
   *   find it free, and a promise for each of them would cost a request time
   */
  enter(): Promise<void> | undefined {
    if (this.#isTaken) {
      const waiting = (this.#waiting ??= []);
      return new Promise((resolve) => {
        waiting.push(resolve);
      });
    }
    this.#isTaken = true;
    return undefined;
  }

  /** Ends the turn; the next task in the queue has it from here on. */
  leave(): void {
    const next = this.#waiting?.shift();
    if (next === undefined) {
      this.#isTaken = false;
    } else {
      next();
    }
  }

  /** Runs a task when its turn has come. */
  async run<T>(task: () => T | Promise<T>): Promise<T> {
    const turn = this.enter();
    if (turn !== undefined) {
      await turn;
    }
    try {
      return await task();
    } finally {
      this.leave();
    }
  }
}
