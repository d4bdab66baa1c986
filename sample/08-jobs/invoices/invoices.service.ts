import type { EntityManager } from '@mikro-orm/postgresql';
import { Injectable } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import type { OrderJob } from '../jobs.js';
import { Journal } from '../journal.js';
import { Order } from '../orders/order.entity.js';

@Injectable()
export class InvoicesService {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly journal: Journal,
  ) {}

  async write({ orderId }: OrderJob): Promise<void> {
    const { item } = await this.session.findOneOrFail(Order, orderId);
    if (item !== 'one of many') {
      this.journal.write('outbox', `invoice of order ${orderId} (${item})`);
    }
  }
}
