import { setTimeout as sleep } from 'node:timers/promises';

import { findDatabases } from '../01-basic/start/find-databases.js';
import { prepareDatabases } from '../01-basic/start/prepare-databases.js';
import { runSample } from '../starter/run-sample.js';
import { AppModule } from './app.module.js';
import { sendMix } from './mix/send-mix.js';

const PAUSE_MS = 15_000;

await runSample('npm run sample:inspector', async (starter) => {
  const app = await starter.createApp(AppModule.register(await findDatabases(starter)));
  await prepareDatabases(app);
  const url = await starter.listen(app);
  console.log(`
Open ${url}/__db - good and bad requests are being sent. Ctrl-C ends it.`);
  void keepSending(url);
});

/** Until the sample ends. */
async function keepSending(url: string): Promise<void> {
  try {
    for (;;) {
      await sendMix(url);
      await sleep(PAUSE_MS, undefined, { ref: false });
    }
  } catch (error) {
    // It is the end of the sample, as a rule.
    console.log(`No more requests are sent: ${(error as Error).message}`);
  }
}
