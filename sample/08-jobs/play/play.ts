import { setTimeout as sleep } from 'node:timers/promises';

import type { EntityManager } from '@mikro-orm/postgresql';
import type { INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Queue } from 'bullmq';
import { DbContext } from 'nestjs-db-context';

import { createTables } from '../../starter/create-tables.js';
import { send } from '../../starter/walkthrough.js';
import { AppModule, type SampleOptions } from '../app.module.js';
import { Order } from '../orders/order.entity.js';

/** Orders whose jobs wait as the application closes. */
const MANY = 60;
const LOOK_INTERVAL_MS = 20;
/** How long a line of the account is waited for. */
const PATIENCE_MS = 20_000;

/** What it came to. */
export interface Summary {
  /** Orders that were saved of those that are told of one by one. */
  readonly orders: number;
  /** What became of the jobs that waited as the application closed. */
  readonly done: number;
  readonly waiting: number;
  /** Failed, or left in the middle. */
  readonly failed: number;
}

/** Places orders, and closes the application while jobs wait. */
export async function play(options: SampleOptions): Promise<Summary> {
  const lines: string[] = [];
  const print = (line: string): void => {
    lines.push(line);
    options.print(line);
  };
  const app = await NestFactory.create(AppModule.register({ ...options, print }), {
    logger: ['fatal'],
    forceCloseConnections: true,
  });
  const queue = new Queue('receipts', { connection: { port: options.redisPort } });
  try {
    let orders: number;
    let before: number;
    try {
      await createTables(app, 'default', 'DATABASE_URL');
      await app.listen(0, '127.0.0.1');
      orders = await tellOfOrders(app, lines, print);
      before = await queue.getCompletedCount();
      print(`\n--- ${MANY} orders, and the application closes`);
      const url = await app.getUrl();
      await Promise.all(Array.from({ length: MANY }, () => place(url, 'one of many')));
    } finally {
      await app.close();
    }
    const { completed = 0, failed = 0, active = 0 } = await queue.getJobCounts();
    const summary = {
      orders,
      done: completed - before,
      waiting: await queue.count(),
      failed: failed + active,
    };
    print(`${summary.done} receipts were written before it had closed`);
    print(`${summary.waiting} jobs wait for the next start`);
    print(`${summary.failed} jobs failed, or were left in the middle`);
    return summary;
  } finally {
    await queue.close();
  }
}

/** @returns how many orders are saved */
async function tellOfOrders(
  app: INestApplication,
  lines: readonly string[],
  print: (line: string) => void,
): Promise<number> {
  const url = await app.getUrl();
  const tell = async (title: string, item: string, awaited: readonly string[]): Promise<void> => {
    print(`\n--- ${title}`);
    const from = lines.length;
    print(`client   is answered with ${await place(url, item)}`);
    await untilSaid(lines, from, awaited);
  };
  await tell('an order: its jobs leave with the commit, and find the row', 'tea', [
    '1 receipt',
    'invoice',
    'cron',
  ]);
  await tell('an order that fails: no row, no receipt and no invoice', 'sold out', ['cron']);
  await tell('a job that fails at first: rolled back, and then done once', 'jam', [
    '1 receipt',
    'invoice',
  ]);
  const dbContext = app.get(DbContext);
  return dbContext.run(() => dbContext.session<EntityManager>().count(Order));
}

async function place(url: string, item: string): Promise<number> {
  const { status } = await send(url, {
    method: 'POST',
    path: '/orders',
    body: { item },
    status: 201,
    expect: 'the order',
  });
  return status;
}

/** Waits until each of the texts is in a line. */
async function untilSaid(
  lines: readonly string[],
  from: number,
  texts: readonly string[],
): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  const isMissing = (text: string): boolean =>
    !lines.slice(from).some((line) => line.includes(text));
  while (texts.some(isMissing)) {
    if (performance.now() > deadline) {
      throw new Error(`Waited in vain for: ${texts.filter(isMissing).join(', ')}`);
    }
    await sleep(LOOK_INTERVAL_MS);
  }
}
