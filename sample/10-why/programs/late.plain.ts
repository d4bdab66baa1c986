import { EntityManager } from '@mikro-orm/postgresql';
import { Body, ConflictException, Controller, Post } from '@nestjs/common';

import { Guest } from '../guest.entity.js';
import { Registry } from '../registry.js';

@Controller('bookings')
export class LatePlainController {
  constructor(
    private readonly em: EntityManager,
    private readonly registry: Registry,
  ) {}

  @Post()
  book(@Body() { seat, name }: { seat: string; name: string }): Promise<void> {
    return this.em.transactional(async (em) => {
      await Promise.all([this.addGuest(em, name), this.take(seat)]);
    });
  }

  async addGuest(em: EntityManager, name: string): Promise<void> {
    const known = await this.registry.nameOf(name); // asks another service
    await em.insert(Guest, { name: known });
  }

  async take(seat: string): Promise<void> {
    throw new ConflictException(`${seat} is taken.`);
  }
}
