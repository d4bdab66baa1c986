import { EntityManager } from '@mikro-orm/postgresql';
import { Injectable } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { Payment } from './payment.entity.js';

/** Knows nothing of hosts. */
@Injectable()
export class PaymentsService {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async accept(reference: string, amountCents: number): Promise<Payment> {
    const payment = new Payment(reference, amountCents);
    this.session.persist(payment);
    await this.session.flush();
    return payment;
  }
}
