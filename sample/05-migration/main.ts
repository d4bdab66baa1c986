import { MikroORM } from '@mikro-orm/core';

import { databaseUrlFrom } from '../starter/database-url.js';
import { runSample } from '../starter/run-sample.js';
import { walkthrough } from '../starter/walkthrough.js';
import { stageFrom, STAGES } from './stages.js';
import { STEPS } from './steps.js';

await runSample('npm run sample:migration', async (starter) => {
  const stage = stageFrom(process.env['STAGE']);
  const databaseUrl =
    databaseUrlFrom('DATABASE_URL')?.href ?? (await starter.startPostgres(['sample'])).sample;
  const app = await starter.createApp(STAGES[stage](databaseUrl));
  await app.get(MikroORM).schema.update({ safe: true });
  console.log(walkthrough(await starter.listen(app), STEPS));
});
