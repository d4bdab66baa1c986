import { printProfile } from '../report/print-profile.js';
import type { Profiled } from './options.js';
import { openProcess } from './run/process.subject.js';

const WARM_UP_MS = 3_000;
const RECORDED_MS = 4_000;

/** Prints what the time of one side at one point of a curve goes into. */
export async function profileGrowth(
  { curve, side, x, file }: Profiled,
  databaseUrl: string,
): Promise<void> {
  const url = curve.wire === 'canned' ? undefined : databaseUrl;
  const subject = await openProcess(curve, side, url);
  try {
    const startedMs = performance.now();
    let units = 0;
    do {
      await subject.measure([x], 1);
      units += 1;
    } while (performance.now() - startedMs < WARM_UP_MS);
    const recorded = Math.max(1, Math.round((units * RECORDED_MS) / WARM_UP_MS));
    const [figures] = await subject.measure([x], recorded);
    const profile = await subject.record(x, recorded);
    const cpuUs = figures!['cpuMs'];
    const title = `${curve.title}, ${x} ${curve.x.label}, ${side}`;
    await printProfile(title, profile, file, cpuUs === undefined ? undefined : cpuUs * 1_000);
  } finally {
    await subject.stop();
  }
}
