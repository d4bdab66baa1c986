import { EntityManager } from '@mikro-orm/postgresql';
import { Body, ConflictException, Controller, Post } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { Guest } from '../guest.entity.js';
import { Registry } from '../registry.js';

@Controller('bookings')
export class LateLibraryController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly registry: Registry,
  ) {}

  @Post()
  async book(@Body() { seat, name }: { seat: string; name: string }): Promise<void> {
    await Promise.all([this.addGuest(name), this.take(seat)]);
  }

  async addGuest(name: string): Promise<void> {
    const known = await this.registry.nameOf(name); // asks another service
    await this.session.insert(Guest, { name: known });
  }

  async take(seat: string): Promise<void> {
    throw new ConflictException(`${seat} is taken.`);
  }
}
