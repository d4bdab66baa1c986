import { EntityManager } from '@mikro-orm/postgresql';
import {
  Body,
  Controller,
  Injectable,
  Logger,
  Post,
  UseInterceptors,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { tap, type Observable } from 'rxjs';

import { Booking } from '../booking.entity.js';

/** A transaction for each request. */
@Injectable()
class TransactionInterceptor implements NestInterceptor {
  readonly #logger = new Logger('Transaction');

  constructor(private readonly em: EntityManager) {}

  async intercept(_: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
    await this.em.begin();
    return next.handle().pipe(
      tap({
        // Nobody waits for either of them.
        next: () => void this.#commit(),
        error: () => void this.em.rollback(),
      }),
    );
  }

  async #commit(): Promise<void> {
    try {
      await this.em.commit();
    } catch (error) {
      this.#logger.error(error);
      await this.em.rollback();
    }
  }
}

@Controller('bookings')
@UseInterceptors(TransactionInterceptor)
export class AnsweredPlainController {
  constructor(private readonly em: EntityManager) {}

  @Post()
  book(@Body() { seat }: { seat: string }): { booked: string } {
    this.em.create(Booking, { seat });
    return { booked: seat };
  }
}
