import { Body, Controller, Post } from '@nestjs/common';

import type { Order } from './order.entity.js';
import { OrdersService } from './orders.service.js';

@Controller('orders')
export class OrdersController {
  constructor(private readonly orders: OrdersService) {}

  @Post()
  place(@Body('item') item: string): Promise<Order> {
    return this.orders.place(item);
  }
}
