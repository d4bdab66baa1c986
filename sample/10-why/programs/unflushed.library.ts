import { EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, Param, Patch } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { Booking } from '../booking.entity.js';

@Controller('bookings')
export class UnflushedLibraryController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Patch(':id')
  async move(@Param('id') id: string, @Body() { seat }: { seat: string }): Promise<Booking> {
    const booking = await this.session.findOneOrFail(Booking, Number(id));
    booking.seat = seat;
    return booking;
  }
}
