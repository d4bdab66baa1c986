import { Controller, Param, ParseIntPipe, Post } from '@nestjs/common';

import type { Order } from '../orders/order.entity.js';
import { PaymentsService } from './payments.service.js';

@Controller('orders/:id/payment')
export class PaymentsController {
  constructor(private readonly payments: PaymentsService) {}

  @Post()
  pay(@Param('id', ParseIntPipe) id: number): Promise<Order> {
    return this.payments.pay(id);
  }
}
