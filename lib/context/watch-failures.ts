import { errorInfoOf } from '../telemetry/error-info.js';

/** Warns of the first failure of the watch: a fault of its own is neither to end the process nor to fill the log. */
export class WatchFailures {
  readonly #warn: (message: string) => void;
  #isReported = false;

  constructor(warn: (message: string) => void) {
    this.#warn = warn;
  }

  readonly report = (error: unknown): void => {
    if (this.#isReported) {
      return;
    }
    this.#isReported = true;
    const { name, message } = errorInfoOf(error);
    const warning =
      `The option watch could not look at a part of what happened: ${name}: ${message}. What it would have found ` +
      'there is not reported, and the application went on as without it. Later failures are not reported.';
    try {
      this.#warn(warning);
    } catch {
      // The log itself may be what has failed.
      process.emitWarning(warning, 'DbContextWatchWarning');
    }
  };
}
