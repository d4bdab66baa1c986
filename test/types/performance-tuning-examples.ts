// The code of docs/performance-tuning.md; tsc checks it here, and a spec checks that it is the same.
import { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Post } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';

declare class Payments {
  charge(order: string): Promise<string>;
}

@Controller('orders')
export class OrdersController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly payments: Payments,
  ) {}

  @Post()
  async pay() {
    const note = await this.session.findOneOrFail(Note, 1);
    await this.session.commit(); // gives the connection back
    const receipt = await this.payments.charge(note.text);
    await this.session.insert(Note, { text: receipt }); // takes one again
  }
}
