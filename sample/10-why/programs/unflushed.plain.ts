import { EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, Param, Patch } from '@nestjs/common';

import { Booking } from '../booking.entity.js';

@Controller('bookings')
export class UnflushedPlainController {
  constructor(private readonly em: EntityManager) {}

  @Patch(':id')
  async move(@Param('id') id: string, @Body() { seat }: { seat: string }): Promise<Booking> {
    const booking = await this.em.findOneOrFail(Booking, Number(id));
    booking.seat = seat;
    return booking;
  }
}
