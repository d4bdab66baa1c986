import type { BenchOptions } from '../options.js';
import { printProfile } from '../report/print-profile.js';
import type { Workload } from '../workloads.js';
import type { Block, BlockFigures } from './blocks.js';
import { startMachinery } from './machinery.js';

const RECORDED_REQUESTS = 30_000;

/** Prints what the JavaScript of one candidate goes into at one workload, without a network. */
export async function profileMachinery(
  { blockPlan, candidates, profileFile }: BenchOptions,
  workload: Workload,
): Promise<void> {
  const candidate = candidates[0]!;
  const child = await startMachinery(blockPlan.way, [candidate]);
  const run = async (requests: number, isRecorded: boolean): Promise<BlockFigures> => {
    const block: Block = { entrant: 0, workload, requests, isRecorded };
    return (await child.ask(block)) as BlockFigures;
  };
  try {
    await run(blockPlan.warmUpRequests, false);
    // What a request takes is measured without the recorder, which takes time itself.
    const { cpuUs } = await run(RECORDED_REQUESTS, false);
    const { profile } = await run(RECORDED_REQUESTS, true);
    const title = `${workload.title}, ${candidate}, no network, ${cpuUs.toFixed(1)} us of CPU time each`;
    await printProfile(title, profile!, profileFile, cpuUs);
  } finally {
    await child.stop();
  }
}
