import { UniqueConstraintViolationException } from '@mikro-orm/core';
import { InjectRepository } from '@mikro-orm/nestjs';
import { EntityManager, EntityRepository } from '@mikro-orm/postgresql';
import { ConflictException, Injectable, NotFoundException } from '@nestjs/common';

import { AuditService } from './audit.service.js';
import { Booking, Room, RoomRepository } from './rooms.entities.js';

@Injectable()
export class BookingsService {
  constructor(
    private readonly em: EntityManager,
    private readonly rooms: RoomRepository,
    @InjectRepository(Booking) private readonly bookings: EntityRepository<Booking>,
    private readonly audit: AuditService,
  ) {}

  async openRoom(name: string): Promise<number> {
    const room = new Room(name);
    await this.em.persist(room).flush();
    await this.audit.write(`opened ${name}`);
    return room.id;
  }

  async book(name: string, day: string, guest: string): Promise<number> {
    const room = await this.findRoom(name);
    const booking = this.bookings.create({ room, day, guest });
    try {
      await this.em.persist(booking).flush();
    } catch (error) {
      if (error instanceof UniqueConstraintViolationException) {
        throw new ConflictException(`${name} is taken on ${day}`);
      }
      throw error;
    }
    await this.audit.write(`booked ${name} for ${guest}`);
    return booking.id;
  }

  /** Books all days that are free, and skips the others. */
  async bookDays(name: string, days: readonly string[], guest: string): Promise<string[]> {
    const room = await this.findRoom(name);
    const booked: string[] = [];
    for (const day of days) {
      try {
        await this.em.transactional((em) => em.insert(Booking, { room: room.id, day, guest }));
        booked.push(day);
      } catch (error) {
        if (!(error instanceof UniqueConstraintViolationException)) {
          throw error;
        }
      }
    }
    await this.audit.write(`booked ${name} for ${guest}, ${booked.length} days`);
    return booked;
  }

  async rename(name: string, to: string): Promise<void> {
    const room = await this.findRoom(name);
    room.name = to;
    await this.em.flush();
    await this.audit.write(`renamed ${name} to ${to}`);
  }

  async guestsOf(name: string): Promise<string[]> {
    const room = await this.findRoom(name);
    const bookings = await this.bookings.find({ room }, { orderBy: { day: 'asc' } });
    return bookings.map(({ day, guest }) => `${day}: ${guest}`);
  }

  private async findRoom(name: string): Promise<Room> {
    const room = await this.rooms.byName(name);
    if (room === null) {
      throw new NotFoundException(`There is no room ${name}`);
    }
    return room;
  }
}
