import { setTimeout as sleep } from 'node:timers/promises';

import { Injectable } from '@nestjs/common';

/** Stands for the payment service of another company, which takes its time. */
@Injectable()
export class PaymentGateway {
  /** @returns whether the money has come */
  async charge(_orderId: number): Promise<boolean> {
    await sleep(250);
    return true;
  }
}
