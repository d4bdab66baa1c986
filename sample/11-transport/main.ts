import { createTables } from '../starter/create-tables.js';
import { databaseUrlFrom } from '../starter/database-url.js';
import { runSample } from '../starter/run-sample.js';
import { AppModule } from './app.module.js';
import { LineServer } from './lines/line-server.js';

await runSample('npm run sample:transport', async (starter) => {
  const databaseUrl =
    databaseUrlFrom('DATABASE_URL')?.href ?? (await starter.startPostgres(['sample'])).sample;
  const app = await starter.createApp(AppModule.register({ databaseUrl }));
  await app.init();
  await createTables(app, 'default', 'DATABASE_URL');
  const { port } = app.get(LineServer);
  console.log(`Try: printf 'kitchen 21.5\\nattic cold\\n' | nc 127.0.0.1 ${port}`);
});
