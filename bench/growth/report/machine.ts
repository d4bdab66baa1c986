import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';

const GIB = 2 ** 30;

/** Where a curve was measured. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly platform: string;
  readonly node: string;
}

export function thisMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / GIB),
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
  };
}

/** How many processes have wanted a core in the last minute, on average. */
export function loadNow(): number {
  return Number(loadavg()[0]!.toFixed(2));
}
