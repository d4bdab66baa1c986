import { runSample } from '../starter/run-sample.js';
import { walkthrough } from '../starter/walkthrough.js';
import { AppModule } from './app.module.js';
import { findDatabases } from './start/find-databases.js';
import { prepareDatabases } from './start/prepare-databases.js';
import { STEPS } from './start/steps.js';

await runSample('npm start', async (starter) => {
  const app = await starter.createApp(AppModule.register(await findDatabases(starter)));
  await prepareDatabases(app);
  const url = await starter.listen(app);
  console.log(walkthrough(url, STEPS));
  console.log(`And see what each of them sent to which database: ${url}/__db`);
});
