import { UniqueConstraintViolationException } from '@mikro-orm/core';
import { EntityManager, EntityRepository } from '@mikro-orm/postgresql';
import { ConflictException, Injectable, NotFoundException } from '@nestjs/common';
import { InjectRepository, InjectSession } from 'nestjs-db-context';

import { Booking, Room, RoomRepository } from '../before/rooms.entities.js';
import { AuditService } from './audit.service.js';

@Injectable()
export class BookingsService {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly rooms: RoomRepository,
    @InjectRepository(Booking) private readonly bookings: EntityRepository<Booking>,
    private readonly audit: AuditService,
  ) {}

  openRoom(name: string): Room {
    const room = new Room(name);
    this.session.persist(room);
    this.audit.write(`opened ${name}`);
    return room;
  }

  async book(name: string, day: string, guest: string): Promise<Booking> {
    const room = await this.findRoom(name);
    const booking = this.bookings.create({ room, day, guest });
    try {
      // This flush stays: its error is to be answered in another way than any other.
      await this.session.persist(booking).flush();
    } catch (error) {
      if (error instanceof UniqueConstraintViolationException) {
        throw new ConflictException(`${name} is taken on ${day}`);
      }
      throw error;
    }
    this.audit.write(`booked ${name} for ${guest}`);
    return booking;
  }

  /** Books all days that are free, and skips the others. */
  async bookDays(name: string, days: readonly string[], guest: string): Promise<string[]> {
    const room = await this.findRoom(name);
    const booked: string[] = [];
    for (const day of days) {
      try {
        // This stays, too: the savepoint undoes a day that is taken, and keeps the others.
        await this.session.transactional((em) => em.insert(Booking, { room: room.id, day, guest }));
        booked.push(day);
      } catch (error) {
        if (!(error instanceof UniqueConstraintViolationException)) {
          throw error;
        }
      }
    }
    this.audit.write(`booked ${name} for ${guest}, ${booked.length} days`);
    return booked;
  }

  async rename(name: string, to: string): Promise<void> {
    const room = await this.findRoom(name);
    room.name = to;
    this.audit.write(`renamed ${name} to ${to}`);
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
