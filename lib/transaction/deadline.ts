/** Stands for a deadline that does not run, because the transaction waits for a connection. */
const PAUSED = 'paused';

/** What a {@link Deadline} belongs to. */
interface DeadlineOwner {
  /** Whether there is anything left to be limited. */
  readonly isOpen: boolean;
  /** Called when the time is over. */
  isOverdue(): void;
}

/** The limit of one whole transaction (F6). */
export class Deadline {
  readonly #owner: DeadlineOwner;
  readonly #timeoutMs: number;
  #timer: NodeJS.Timeout | typeof PAUSED | undefined;

  constructor(owner: DeadlineOwner, timeoutMs: number) {
    this.#owner = owner;
    this.#timeoutMs = timeoutMs;
  }

  /** Starts it, where it has not been started. */
  start(): void {
    if (this.#timer === undefined && this.#owner.isOpen) {
      this.#timer = setTimeout(() => this.#owner.isOverdue(), this.#timeoutMs);
      this.#timer.unref();
    }
  }

  /** Gives all of the time again. */
  restart(): void {
    this.stop();
    this.start();
  }

  /**
   * Stops it while the transaction waits for a connection, which has a limit of its own.
   *
   * @returns whether it ran before, for {@link Deadline.resume}
   */
  pause(): boolean {
    const hasRun = this.#timer !== undefined;
    this.stop();
    this.#timer = PAUSED;
    return hasRun;
  }

  /** Starts it anew after a wait that has brought no connection, where it ran before. */
  resume(hasRun: boolean): void {
    this.stop();
    if (hasRun) {
      this.start();
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
