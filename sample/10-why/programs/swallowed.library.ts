import { UniqueConstraintViolationException } from '@mikro-orm/core';
import { EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, Post } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { Booking } from '../booking.entity.js';
import { Guest } from '../guest.entity.js';

@Controller('bookings')
export class SwallowedLibraryController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post()
  async book(@Body() { seat, name }: { seat: string; name: string }): Promise<{ booked: string }> {
    await this.session.insert(Booking, { seat });
    try {
      await this.session.insert(Guest, { name });
    } catch (error) {
      if (!(error instanceof UniqueConstraintViolationException)) {
        throw error;
      }
      // Somebody who has booked before: all the better.
    }
    return { booked: seat };
  }
}
