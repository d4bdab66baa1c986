import { UniqueConstraintViolationException } from '@mikro-orm/core';
import { EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, Post } from '@nestjs/common';

import { Booking } from '../booking.entity.js';
import { Guest } from '../guest.entity.js';

@Controller('bookings')
export class SwallowedPlainController {
  constructor(private readonly em: EntityManager) {}

  @Post()
  book(@Body() { seat, name }: { seat: string; name: string }): Promise<{ booked: string }> {
    return this.em.transactional(async (em) => {
      await em.insert(Booking, { seat });
      try {
        await em.insert(Guest, { name });
      } catch (error) {
        if (!(error instanceof UniqueConstraintViolationException)) {
          throw error;
        }
        // Somebody who has booked before: all the better.
      }
      return { booked: seat };
    });
  }
}
