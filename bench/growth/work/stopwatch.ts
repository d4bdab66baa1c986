/** Times since it was made: on the clock, and of this process. */
export class Stopwatch {
  readonly #startedMs = performance.now();
  readonly #started = process.cpuUsage();

  /** @param count by which the times are divided */
  read(count: number): { readonly wallUs: number; readonly cpuUs: number } {
    const { user, system } = process.cpuUsage(this.#started);
    const wallUs = (performance.now() - this.#startedMs) * 1_000;
    return { wallUs: wallUs / count, cpuUs: (user + system) / count };
  }
}
