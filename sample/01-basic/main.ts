import { runSample, type Starter } from '../starter/run-sample.js';
import { databaseUrlFrom } from '../starter/database-url.js';
import { walkthrough } from '../starter/walkthrough.js';
import { AppModule, type DatabaseUrls } from './app.module.js';
import { prepareDatabases } from './start/prepare-databases.js';
import { STEPS } from './start/steps.js';

await runSample('npm start', async (starter) => {
  const app = await starter.createApp(AppModule.register(await findDatabases(starter)));
  await prepareDatabases(app);
  console.log(walkthrough(await starter.listen(app), STEPS));
});

async function findDatabases(starter: Starter): Promise<DatabaseUrls> {
  const own = databaseUrlFrom('DATABASE_URL');
  if (own === undefined) {
    const { sample, audit } = await starter.startPostgres(['sample', 'audit']);
    return { databaseUrl: sample, auditUrl: audit };
  }
  const audit = new URL(own);
  audit.pathname += '_audit';
  return {
    databaseUrl: own.href,
    auditUrl: (databaseUrlFrom('AUDIT_DATABASE_URL') ?? audit).href,
  };
}
