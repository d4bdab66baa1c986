import { Session } from 'node:inspector/promises';
import type { Profiler } from 'node:inspector';

const SAMPLING_INTERVAL_US = 200;

/** Records a CPU profile of this process. */
export class Recorder {
  readonly #inspector = new Session();

  async start(): Promise<void> {
    this.#inspector.connect();
    await this.#inspector.post('Profiler.enable');
    await this.#inspector.post('Profiler.setSamplingInterval', { interval: SAMPLING_INTERVAL_US });
    await this.#inspector.post('Profiler.start');
  }

  async stop(): Promise<Profiler.Profile> {
    const { profile } = await this.#inspector.post('Profiler.stop');
    this.#inspector.disconnect();
    return profile;
  }
}
