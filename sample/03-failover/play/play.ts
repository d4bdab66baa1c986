import { setTimeout as sleep } from 'node:timers/promises';

import type { INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { getConnectionToken, type DbConnection } from 'nestjs-db-context';

import { Cluster } from '../../starter/cluster.js';
import { AppModule } from '../app.module.js';
import { Clients } from './clients.js';
import { accountLine, countEach, eventLine, type Summary } from './report.js';
import { paymentsOn, promote } from './servers.js';

/** Requests that a part has at least, to prove anything. */
const ENOUGH = 20;

/** How long each part takes, in milliseconds. */
export interface Script {
  readonly clients: number;
  readonly beforeMs: number;
  /** From the kill to the order to promote. */
  readonly withoutPrimaryMs: number;
  readonly afterMs: number;
  /** Between two lines. */
  readonly lineMs: number;
}

/**
 * Starts a primary, a synchronous standby and the application, puts load on it, kills the primary
 * and promotes the standby. All of it is gone in the end.
 */
export async function play(script: Script, print: (line: string) => void): Promise<Summary> {
  const cluster = await Cluster.start({ isSynchronous: true });
  let app: INestApplication | undefined;
  try {
    const urls = [cluster.primaryUrl, ...cluster.standbyUrls];
    const hosts = urls.map((url) => new URL(url).host);
    const module = AppModule.register({ databaseUrl: cluster.primaryUrl, hosts });
    app = await NestFactory.create(module, { logger: ['fatal'], forceCloseConnections: true });
    await app.get<DbConnection>(getConnectionToken()).orm.schema.update({ safe: true });
    await app.listen(0, '127.0.0.1');
    return await playOn(cluster, app, script, print);
  } finally {
    await app?.close();
    await cluster.stop();
  }
}

async function playOn(
  cluster: Cluster,
  app: INestApplication,
  script: Script,
  print: (line: string) => void,
): Promise<Summary> {
  const connection = app.get<DbConnection>(getConnectionToken());
  const clients = new Clients(await app.getUrl(), script.clients);
  const startedAt = performance.now();
  const elapsed = (): number => performance.now() - startedAt;
  const event = (text: string): void => print(eventLine(elapsed(), text));
  let told = 0;
  const lines = setInterval(() => {
    print(accountLine(elapsed(), clients.outcomes.slice(told), connection.host));
    told = clients.outcomes.length;
  }, script.lineMs);
  try {
    await sleep(script.beforeMs);
    await clients.until('acknowledged', ENOUGH);
    event('the primary is killed');
    const killedAt = performance.now();
    await cluster.kill('primary');
    await sleep(script.withoutPrimaryMs);
    await clients.until('failed', ENOUGH);
    event('the standby is told to be the primary');
    const promotedAt = await promote(cluster);
    const soFar = clients.acknowledged.length;
    await sleep(script.afterMs);
    await clients.until('acknowledged', soFar + ENOUGH);
    await clients.stop();
    return summarize(clients, await paymentsOn(cluster.standbyUrls[0]!), killedAt, promotedAt);
  } finally {
    clearInterval(lines);
    await clients.stop();
  }
}

function summarize(
  { acknowledged, failed }: Clients,
  saved: ReadonlySet<string>,
  killedAt: number,
  promotedAt: number,
): Summary {
  const found = acknowledged.filter(({ reference }) => saved.has(reference)).length;
  const successes = acknowledged.map(({ endedAt }) => endedAt).filter((end) => end > promotedAt);
  return {
    acknowledged: acknowledged.length,
    found,
    missing: acknowledged.length - found,
    savedUnacknowledged: failed.filter(({ reference }) => saved.has(reference)).length,
    failed: countEach(failed.flatMap(({ error }) => error ?? [])),
    failedAfterPromotion: failed.filter(({ startedAt }) => startedAt > promotedAt).length,
    withoutPrimaryMs: promotedAt - killedAt,
    promotionToSuccessMs: Math.min(...successes) - promotedAt,
  };
}
