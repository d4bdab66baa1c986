import { once } from 'node:events';
import { createServer } from 'node:net';

import { NestFactory } from '@nestjs/core';

import { AppModule } from './app.module.js';
import { databaseUrls } from './start/database-urls.js';
import { startLocalPostgres } from './start/local-postgres.js';
import { prepareDatabases } from './start/prepare-databases.js';
import { walkthrough } from './start/walkthrough.js';

const HOST = '127.0.0.1';

const cleanUp: (() => Promise<void>)[] = [];
let isStopping = false;

/** Undoes what was started, the last first, and ends the process. */
async function stop(exitCode: number): Promise<void> {
  if (isStopping) {
    return;
  }
  isStopping = true;
  let code = exitCode;
  for (const undo of cleanUp.toReversed()) {
    try {
      await undo();
    } catch (error) {
      console.error(error);
      code = 1;
    }
  }
  process.exit(code);
}

async function start(): Promise<void> {
  const port = portOf(process.env['PORT'] ?? '3000');
  await requireFree(port);
  const app = await NestFactory.create(AppModule.register(await findDatabases()), {
    logger: ['warn', 'error', 'fatal'],
    forceCloseConnections: true,
    // Or Nest would end the process by itself, without the clean-up below.
    abortOnError: false,
  });
  cleanUp.push(() => app.close());
  await prepareDatabases(app);
  await app.listen(port, HOST);
  console.log(walkthrough(await app.getUrl()));
}

async function findDatabases(): Promise<ReturnType<typeof databaseUrls>> {
  const { DATABASE_URL, AUDIT_DATABASE_URL } = process.env;
  if (DATABASE_URL !== undefined) {
    return databaseUrls(DATABASE_URL, AUDIT_DATABASE_URL);
  }
  console.log('Starting a PostgreSQL for this sample ...');
  const postgres = startLocalPostgres();
  cleanUp.push(() => postgres.stop());
  return databaseUrls(await postgres.url);
}

/** Looks before anything is started, so that the answer comes at once. */
async function requireFree(port: number): Promise<void> {
  const probe = createServer().listen(port, HOST);
  try {
    await once(probe, 'listening');
  } catch (error) {
    if ((error as { readonly code?: unknown }).code === 'EADDRINUSE') {
      throw new Error(
        `Port ${port} is busy. Choose another: PORT=${port === 3000 ? 3001 : 3000} npm start`,
        {
          cause: error,
        },
      );
    }
    throw error;
  }
  probe.close();
  await once(probe, 'close');
}

function portOf(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new Error(`PORT=${text} is no TCP port. Choose one: PORT=3001 npm start`);
  }
  return port;
}

// `on`, not `once`: a second Ctrl-C must not kill the process while it cleans up.
process.on('SIGINT', () => void stop(0));
process.on('SIGTERM', () => void stop(0));

try {
  await start();
} catch (error) {
  if (!isStopping) {
    console.error(error instanceof Error ? error.message : error);
    await stop(1);
  }
}
