import { FastifyAdapter } from '@nestjs/platform-fastify';

import { createTables } from '../starter/create-tables.js';
import { databaseUrlFrom } from '../starter/database-url.js';
import { runSample } from '../starter/run-sample.js';
import { walkthrough } from '../starter/walkthrough.js';
import { AppModule } from './app.module.js';
import { listen } from './listen.js';
import { STEPS } from './steps.js';

await runSample('npm run sample:graphql', async (starter) => {
  const databaseUrl =
    databaseUrlFrom('DATABASE_URL')?.href ?? (await starter.startPostgres(['sample'])).sample;
  const server = process.env['GRAPHQL_SERVER'] === 'mercurius' ? 'mercurius' : 'apollo';
  const app = await starter.createApp(
    AppModule.register({ databaseUrl, server }),
    server === 'mercurius' ? new FastifyAdapter() : undefined,
  );
  await createTables(app, 'default', 'DATABASE_URL');
  const url = await starter.listen(app);
  await listen(url, (answer) => console.log('bookAdded:', JSON.stringify(answer)));
  console.log(walkthrough(url, STEPS));
});
