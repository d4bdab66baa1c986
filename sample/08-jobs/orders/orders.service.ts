import type { EntityManager } from '@mikro-orm/postgresql';
import { ConflictException, Injectable } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';
import { InjectCommittedQueue, type CommittedQueue } from 'nestjs-db-context/bullmq';

import { Outbox } from '../invoices/outbox.js';
import { Journal } from '../journal.js';
import type { OrderJob } from '../jobs.js';
import { Order } from './order.entity.js';

@Injectable()
export class OrdersService {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectCommittedQueue('receipts') private readonly receipts: CommittedQueue<OrderJob>,
    private readonly outbox: Outbox,
    private readonly journal: Journal,
  ) {}

  /** Writes the order and asks for its receipt and its invoice: all of it is there, or none. */
  async place(item: string): Promise<Order> {
    const order = new Order(item);
    await this.session.persist(order).flush();
    const { state } = await this.receipts.add('receipt', { orderId: order.id, item });
    await this.outbox.send('invoices', { orderId: order.id, item });
    if (item !== 'one of many') {
      this.journal.write('request', `order ${order.id} (${item}) is written, its job is ${state}`);
    }
    if (item === 'sold out') {
      throw new ConflictException('That is sold out.');
    }
    return order;
  }
}
