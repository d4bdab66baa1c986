import { Body, Controller, Get, ParseIntPipe, Post } from '@nestjs/common';
import { DbTransaction, RetryOnSerializationFailure } from 'nestjs-db-context';

import type { Order } from './order.entity.js';
import { OrdersService } from './orders.service.js';

@Controller('orders')
export class OrdersController {
  constructor(private readonly orders: OrdersService) {}

  // Of two requests that read the same stock, the second one to write fails with 40001 and runs
  // again, with the stock that the first one has left.
  @DbTransaction({ isolationLevel: 'repeatable read' })
  @RetryOnSerializationFailure({ attempts: 5 })
  @Post()
  place(
    @Body('customerId', ParseIntPipe) customerId: number,
    @Body('productId', ParseIntPipe) productId: number,
    @Body('quantity', ParseIntPipe) quantity: number,
  ): Promise<Order> {
    return this.orders.place(customerId, productId, quantity);
  }

  @Get()
  list(): Promise<Order[]> {
    return this.orders.list();
  }
}
