import { EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, Post } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { Booking } from '../booking.entity.js';

@Controller('bookings')
export class AnsweredLibraryController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post()
  book(@Body() { seat }: { seat: string }): { booked: string } {
    this.session.create(Booking, { seat });
    return { booked: seat };
  }
}
