import { NestFactory } from '@nestjs/core';
import { getConnectionToken, type DbConnection } from 'nestjs-db-context';

import { AppModule } from './app.module.js';

const { DATABASE_URL, PORT = '3000' } = process.env;
if (DATABASE_URL === undefined) {
  console.error('Name an empty database: DATABASE_URL=postgres://user:password@host:5432/database');
  process.exit(1);
}

const app = await NestFactory.create(AppModule.register({ databaseUrl: DATABASE_URL }), {
  logger: ['warn', 'error', 'fatal'],
  forceCloseConnections: true,
});
// Ctrl-C settles the running requests and closes the pool.
app.enableShutdownHooks();
// `safe`: creates the table if it is missing, and drops nothing.
await app.get<DbConnection>(getConnectionToken()).orm.schema.update({ safe: true });
await app.listen(Number(PORT), '127.0.0.1');

const url = await app.getUrl();
console.log(`
The routes are in sample/02-control/README.md. Try one, then see what it has saved:

curl -i -X POST ${url}/atomic/in-a-row
curl ${url}/entries
`);
