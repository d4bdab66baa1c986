import { EntityManager, LockMode } from '@mikro-orm/postgresql';
import {
  ConflictException,
  GoneException,
  HttpException,
  Injectable,
  NotFoundException,
} from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { AuditService } from '../audit/audit.service.js';
import { Order } from '../orders/order.entity.js';
import { PaymentGateway } from './payment.gateway.js';

const PAYMENT_REQUIRED = 402;
/** How long an order waits for its payment. */
const DAY_MS = 24 * 60 * 60 * 1_000;

@Injectable()
export class PaymentsService {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly gateway: PaymentGateway,
    private readonly audit: AuditService,
  ) {}

  async pay(orderId: number): Promise<Order> {
    const order = await this.session.findOne(Order, orderId, {
      lockMode: LockMode.PESSIMISTIC_WRITE,
    });
    if (order === null) {
      throw new NotFoundException(`There is no order ${orderId}.`);
    }
    if (order.status !== 'open') {
      throw new ConflictException(`Order ${orderId} is ${order.status}.`);
    }
    if (Date.now() - order.placedAt.getTime() >= DAY_MS) {
      throw new GoneException(`Order ${orderId} was not paid within a day.`);
    }
    order.status = 'paying';
    // Early, for two reasons: nobody may charge it a second time, whatever happens to this request,
    // and no connection is held while the payment service takes its time.
    await this.session.commit();

    if (!(await this.gateway.charge(orderId))) {
      // In the other database, and saved whatever becomes of this request: it is going to fail.
      await this.audit.record(`declined: order ${orderId}`);
      throw new HttpException(`The payment of order ${orderId} was declined.`, PAYMENT_REQUIRED);
    }
    order.status = 'paid';
    return order;
  }
}
