import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { describeWith, freePort, startServer } from './server-process.js';

/** Not the one in the path, which starts it as another user. */
const PROGRAM = '/usr/lib/rabbitmq/bin/rabbitmq-server';
/** Where Erlang's nodes find each other. RabbitMQ starts none itself where one is running. */
const NAME_SERVER = 'epmd';

/** A RabbitMQ of its own, on free ports and with all of its files in a directory of its own. */
export interface TestRabbitMq {
  readonly url: string;
  /** Ends the broker and its name server, and waits for their end. */
  readonly stop: () => Promise<void>;
}

/** For tests that need a RabbitMQ: `apt-get install rabbitmq-server`. */
export const describeWithRabbitMq = describeWith('rabbitmq-server', ['test', '-x', PROGRAM]);

/** Starts a RabbitMQ, which takes 5 to 15 seconds. */
export async function startRabbitMq(): Promise<TestRabbitMq> {
  const namePort = await freePort();
  const [port, nodePort] = [await freePort(), await freePort()];
  const names = { ERL_EPMD_ADDRESS: '127.0.0.1', ERL_EPMD_PORT: `${namePort}` };
  const nameServer = await startServer({
    program: NAME_SERVER,
    args: () => ['-relaxed_command_check'],
    env: () => names,
    port: namePort,
  });
  const environmentOf = (directory: string): NodeJS.ProcessEnv => {
    const own = (name: string): string => {
      const path = join(directory, name);
      mkdirSync(path);
      return path;
    };
    return {
      ...names,
      // For the cookie, without which Erlang does not start.
      HOME: own('home'),
      RABBITMQ_NODENAME: `test-${port}@localhost`,
      RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
      RABBITMQ_NODE_PORT: `${port}`,
      RABBITMQ_DIST_PORT: `${nodePort}`,
      RABBITMQ_MNESIA_BASE: own('mnesia'),
      RABBITMQ_LOG_BASE: own('log'),
      RABBITMQ_LOGS: '-',
      RABBITMQ_PID_FILE: join(directory, 'pid'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(directory, 'plugins'),
      // No settings of this machine.
      RABBITMQ_CONFIG_FILE: join(directory, 'none'),
      RABBITMQ_CONF_ENV_FILE: join(directory, 'none'),
      // The script becomes the broker, rather than to start it as a child: a signal reaches it.
      RUNNING_UNDER_SYSTEMD: 'true',
      // Idle schedulers sleep.
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '+sbwt none +sbwtdcpu none +sbwtdio none',
    };
  };
  try {
    const broker = await startServer({
      program: PROGRAM,
      args: () => [],
      env: environmentOf,
      port,
    });
    return {
      url: `amqp://127.0.0.1:${port}`,
      stop: async () => {
        await broker.end();
        await nameServer.end();
      },
    };
  } catch (error) {
    await nameServer.end();
    throw error;
  }
}
