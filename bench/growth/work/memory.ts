import { setTimeout as sleep } from 'node:timers/promises';

const COLLECTIONS = 3;
const PAUSE_MS = 10;
const MIB = 1_048_576;

/** The heap after collections, in bytes. */
export async function heapUsed(): Promise<number> {
  for (let collection = 0; collection < COLLECTIONS; collection++) {
    globalThis.gc!();
    // Objects that a callback frees are free after this pause.
    await sleep(PAUSE_MS);
  }
  return process.memoryUsage().heapUsed;
}

export const mebibytes = (bytes: number): number => bytes / MIB;

/** The largest values of the memory of this process since it was made. */
export class MemoryPeak {
  #heap = 0;
  #rss = 0;

  get heapMiB(): number {
    return mebibytes(this.#heap);
  }

  get rssMiB(): number {
    return mebibytes(this.#rss);
  }

  sample(): void {
    const { heapUsed: heap, rss } = process.memoryUsage();
    this.#heap = Math.max(this.#heap, heap);
    this.#rss = Math.max(this.#rss, rss);
  }
}
