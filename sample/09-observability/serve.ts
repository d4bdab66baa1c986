import { createTables } from '../starter/create-tables.js';
import { databaseUrlFrom } from '../starter/database-url.js';
import { runSample } from '../starter/run-sample.js';
import { walkthrough } from '../starter/walkthrough.js';
import { AppModule } from './app.module.js';
import { STEPS } from './steps.js';

export function serve(): Promise<void> {
  return runSample('npm run sample:observability', async (starter) => {
    const databaseUrl =
      databaseUrlFrom('DATABASE_URL')?.href ?? (await starter.startPostgres(['sample'])).sample;
    const app = await starter.createApp(AppModule.register({ databaseUrl }));
    await createTables(app, 'default', 'DATABASE_URL');
    console.log(walkthrough(await starter.listen(app), STEPS));
  });
}
