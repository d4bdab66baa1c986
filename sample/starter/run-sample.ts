import type { DynamicModule, INestApplication } from '@nestjs/common';
import { NestFactory, type AbstractHttpAdapter } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';

import { startLocalPostgres } from './local-postgres.js';
import { choosePort, HOST } from './port.js';

/** What a sample starts with; all of it is undone when the sample ends. */
export interface Starter {
  /**
   * Starts a PostgreSQL for the sample alone, with these databases, all empty.
   *
   * @returns the URL of each
   */
  startPostgres<Name extends string>(
    names: readonly Name[],
  ): Promise<Readonly<Record<Name, string>>>;
  /**
   * Makes the application; it does not listen yet.
   *
   * @param adapter of its HTTP server; Express by default
   */
  createApp(module: DynamicModule, adapter?: AbstractHttpAdapter): Promise<INestApplication>;
  /**
   * Lets the application listen on `PORT`.
   *
   * @returns its URL
   */
  listen(app: INestApplication): Promise<string>;
}

const PARENT_CHECK_INTERVAL_MS = 500;

type Undo = () => Promise<void>;

/**
 * Runs a sample until Ctrl-C or SIGTERM, then undoes what it has started and ends the process: with
 * 0, or with 1 when the start or the clean-up failed.
 *
 * @param command that starts it, for messages
 */
export async function runSample(
  command: string,
  start: (starter: Starter) => Promise<void>,
): Promise<void> {
  const undos: Undo[] = [];
  let isStopping = false;

  const stop = async (exitCode: number): Promise<void> => {
    if (!isStopping) {
      isStopping = true;
      const isClean = await undoAll(undos);
      process.exit(isClean ? exitCode : 1);
    }
  };
  // `on`, not `once`: a second Ctrl-C must not kill the process while it cleans up.
  process.on('SIGINT', () => void stop(0));
  process.on('SIGTERM', () => void stop(0));
  onOrphaned(() => void stop(0));

  try {
    await start(createStarter(command, await choosePort(command), undos));
  } catch (error) {
    // What fails because the sample is being stopped is no news.
    if (!isStopping) {
      console.error(error instanceof Error ? error.message : error);
      await stop(1);
    }
  }
}

function createStarter(command: string, port: number, undos: Undo[]): Starter {
  return {
    startPostgres: async (names) => {
      console.log('Starting a PostgreSQL for this sample ...');
      const postgres = startLocalPostgres(names);
      // Before it has started, so that Ctrl-C stops it then, too.
      undos.push(() => postgres.stop());
      try {
        return await postgres.urls;
      } catch (error) {
        throw new Error(
          `${(error as Error).message}\nTo use a server of your own: ` +
            `DATABASE_URL=postgres://user:password@host/database ${command}`,
          { cause: error },
        );
      }
    },
    createApp: async (module, adapter = new ExpressAdapter()) => {
      const app = await NestFactory.create(module, adapter, {
        logger: ['warn', 'error', 'fatal'],
        forceCloseConnections: true,
        // Or Nest would end the process by itself, without the clean-up.
        abortOnError: false,
      });
      // An application calls app.enableShutdownHooks() here. A sample closes it itself, on the same signals:
      // it has a PostgreSQL to stop after that, and Nest would end the process before.
      undos.push(() => app.close());
      return app;
    },
    listen: async (app) => {
      await app.listen(port, HOST);
      return app.getUrl();
    },
  };
}

/**
 * `npm` hands a SIGTERM on to the shell that its script runs in, and the shell ends without a word
 * to what it runs. All that can be seen of it from here is that the parent is another one.
 */
function onOrphaned(callback: () => void): void {
  const isNpmScript = process.env['npm_lifecycle_event'] !== undefined;
  if (isNpmScript) {
    const parent = process.ppid;
    const look = (): void => {
      if (process.ppid !== parent) {
        clearInterval(timer);
        callback();
      }
    };
    const timer = setInterval(look, PARENT_CHECK_INTERVAL_MS).unref();
  }
}

/**
 * The last first; none stops the next.
 *
 * @returns whether all succeeded
 */
async function undoAll(undos: readonly Undo[]): Promise<boolean> {
  let isClean = true;
  for (const undo of undos.toReversed()) {
    try {
      await undo();
    } catch (error) {
      console.error(error);
      isClean = false;
    }
  }
  return isClean;
}
