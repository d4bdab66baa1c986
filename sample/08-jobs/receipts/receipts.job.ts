import { setTimeout as sleep } from 'node:timers/promises';

import type { EntityManager } from '@mikro-orm/postgresql';
import { OnWorkerEvent, Processor, WorkerHost } from '@nestjs/bullmq';
import { Cron } from '@nestjs/schedule';
import type { Job } from 'bullmq';
import { InjectSession, WithDbContext } from 'nestjs-db-context';

import type { OrderJob } from '../jobs.js';
import { Journal } from '../journal.js';
import { Order } from '../orders/order.entity.js';
import { Receipt } from './receipt.entity.js';

/** How long it takes to print a receipt. */
const PRINTING_MS = 50;

/** Each call of a method of this class is a unit of work: one context, one transaction. */
@Processor('receipts', { concurrency: 5 })
@WithDbContext()
export class ReceiptsJob extends WorkerHost {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly journal: Journal,
  ) {
    super();
  }

  async process({ data: { orderId, item }, attemptsMade }: Job<OrderJob>): Promise<void> {
    const order = await this.session.findOneOrFail(Order, orderId);
    order.hasReceipt = true;
    await this.session.persist(new Receipt(orderId)).flush();
    if (item === 'jam' && attemptsMade === 0) {
      this.journal.write(
        'worker',
        `receipt of order ${orderId} is written, and the paper is stuck`,
      );
      throw new Error('The paper is stuck.');
    }
    await sleep(PRINTING_MS);
  }

  @OnWorkerEvent('completed')
  async completed({ data: { orderId, item }, attemptsMade }: Job<OrderJob>): Promise<void> {
    const receipts = await this.session.count(Receipt, { orderId });
    if (item !== 'one of many') {
      this.journal.write(
        'worker',
        `order ${orderId} (${item}) has ${receipts} receipt, written in attempt ${attemptsMade}`,
      );
    }
  }

  @Cron('* * * * * *')
  async report(): Promise<void> {
    const count = await this.session.count(Order, { hasReceipt: false });
    this.journal.write('cron', `orders without a receipt: ${count}`);
  }
}
