import { EntityManager } from '@mikro-orm/postgresql';
import { Injectable, NotFoundException } from '@nestjs/common';
import { DbContext, InjectSession } from 'nestjs-db-context';

import { Customer } from '../customers/customer.entity.js';
import { StockService } from '../products/stock.service.js';
import { Mailer } from './mailer.js';
import { Order } from './order.entity.js';

@Injectable()
export class OrdersService {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
    private readonly stock: StockService,
    private readonly mailer: Mailer,
  ) {}

  async place(customerId: number, productId: number, quantity: number): Promise<Order> {
    const customer = await this.session.findOne(Customer, customerId);
    if (customer === null) {
      throw new NotFoundException(`There is no customer ${customerId}.`);
    }
    const product = await this.stock.take(productId, quantity);
    const order = new Order(customer, product, quantity);
    this.session.persist(order);
    // Once it is saved, and never for an attempt that is rolled back.
    this.dbContext.onCommit(() =>
      this.mailer.send(customer.email, `Order ${order.id}: ${quantity} ${product.name}`),
    );
    return order;
  }

  /** With everything that an order is shown with, in one statement however many there are. */
  list(): Promise<Order[]> {
    return this.session.find(
      Order,
      {},
      { populate: ['customer', 'product'], strategy: 'joined', orderBy: { id: 'asc' } },
    );
  }
}
