import { runInThisContext } from 'node:vm';

/** The process itself: Jest gives tests a copy, which hears of no rejection. */
const realProcess = runInThisContext('process') as NodeJS.Process;

/** Collects what would end the process of an application, because nobody handles it in time. */
export class UnhandledRejections {
  readonly reasons: unknown[] = [];
  readonly #listener = (reason: unknown): void => void this.reasons.push(reason);

  start(): void {
    realProcess.on('unhandledRejection', this.#listener);
  }

  stop(): void {
    realProcess.off('unhandledRejection', this.#listener);
  }
}
