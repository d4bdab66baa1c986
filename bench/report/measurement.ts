import { availableParallelism, cpus, loadavg } from 'node:os';

/** When figures were measured, on what, and how the script was called. */
export interface Measurement {
  readonly node: string;
  /** Model of the processor. */
  readonly cpuModel: string;
  readonly cpus: number;
  readonly startedAt: string;
  /** The options that the script was started with, the place of its JSON left out. */
  readonly asked: string;
  readonly loadAverage: readonly number[];
  /** What else the figures depend on, such as a server, with its version. */
  readonly versions?: Readonly<Record<string, string>>;
}

/** A measurement that begins now, in this process. */
export function measurementNow(): Measurement {
  return {
    node: process.version,
    cpuModel: cpus()[0]?.model.trim() ?? 'unknown',
    cpus: availableParallelism(),
    startedAt: new Date().toISOString(),
    asked: askedWithout('--json'),
    loadAverage: loadavg(),
  };
}

/** The options of this run, but for one with its value. */
function askedWithout(option: string): string {
  const args = process.argv.slice(2);
  const index = args.indexOf(option);
  return (index === -1 ? args : args.toSpliced(index, 2)).join(' ');
}
