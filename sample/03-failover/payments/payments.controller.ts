import { Body, Controller, Post } from '@nestjs/common';

import type { Payment } from './payment.entity.js';
import { PaymentsService } from './payments.service.js';

@Controller('payments')
export class PaymentsController {
  constructor(private readonly payments: PaymentsService) {}

  /** 201 means that it is committed, with synchronous replication on the standby as well. */
  @Post()
  accept(@Body() body: { reference: string; amountCents: number }): Promise<Payment> {
    return this.payments.accept(body.reference, body.amountCents);
  }
}
