import type { EntityManager } from '@mikro-orm/postgresql';
import { Body, ConflictException, Controller, Get, HttpCode, Post } from '@nestjs/common';
import {
  DbContext,
  DbTransaction,
  InjectSession,
  RetryOnSerializationFailure,
} from 'nestjs-db-context';

import { Order } from './order.entity.js';

/** An order as a client sends it. */
interface OrderInput {
  readonly item: string;
  readonly card: string;
}

/** Knows nothing of OpenTelemetry. */
@Controller('orders')
export class OrdersController {
  #isFirst = true;

  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Get()
  async list(): Promise<string[]> {
    const orders = await this.session.find(Order, {}, { orderBy: { id: 'asc' } });
    return orders.map(({ item, count }) => `${count} ${item}`);
  }

  @Post()
  add(@Body() { item, card }: OrderInput): Order {
    const order = new Order(item, card);
    this.session.persist(order);
    return order;
  }

  /** A part is undone, and the rest refused. */
  @Post('refused')
  async refuse(@Body() { item, card }: OrderInput): Promise<never> {
    await this.session.insert(Order, { item, card, count: 1 });
    const undone = this.session.transactional(async (em) => {
      await em.insert(Order, { item: `second ${item}`, card, count: 1 });
      throw new Error('out of stock');
    });
    await undone.catch(() => undefined);
    throw new ConflictException(`no ${item} left`);
  }

  /** Somebody else changes the row in the first attempt. */
  @Post('more')
  @HttpCode(200)
  @RetryOnSerializationFailure({ attempts: 2, backoffMs: 1 })
  @DbTransaction({ isolationLevel: 'repeatable read' })
  async orderMore(): Promise<number> {
    const order = await this.session.findOneOrFail(Order, { item: 'pen' });
    if (this.#isFirst) {
      this.#isFirst = false;
      await this.dbContext.runInNewContext(() =>
        this.session.nativeUpdate(Order, { id: order.id }, { count: 10 }),
      );
    }
    order.count += 1;
    return order.count;
  }
}
