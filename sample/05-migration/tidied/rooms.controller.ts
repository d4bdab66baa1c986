import { Body, Controller, Get, Param, Post } from '@nestjs/common';

import { Room } from '../before/rooms.entities.js';
import { AuditService } from './audit.service.js';
import { BookingsService } from './bookings.service.js';

@Controller()
export class RoomsController {
  constructor(
    private readonly bookings: BookingsService,
    private readonly audit: AuditService,
  ) {}

  /** The entity itself: its id is there when the answer is made of it, after the flush that follows here. */
  @Post('rooms')
  open(@Body('name') name: string): Room {
    return this.bookings.openRoom(name);
  }

  @Post('rooms/:name/name')
  async rename(@Param('name') name: string, @Body('to') to: string): Promise<{ name: string }> {
    await this.bookings.rename(name, to);
    return { name: to };
  }

  @Post('rooms/:name/bookings')
  async book(
    @Param('name') name: string,
    @Body('day') day: string,
    @Body('guest') guest: string,
  ): Promise<{ id: number }> {
    const { id } = await this.bookings.book(name, day, guest);
    return { id };
  }

  @Post('rooms/:name/days')
  async bookDays(
    @Param('name') name: string,
    @Body('days') days: string[],
    @Body('guest') guest: string,
  ): Promise<string[]> {
    return this.bookings.bookDays(name, days, guest);
  }

  @Get('rooms/:name/bookings')
  guests(@Param('name') name: string): Promise<string[]> {
    return this.bookings.guestsOf(name);
  }

  @Get('audit')
  auditTrail(): Promise<string[]> {
    return this.audit.list();
  }
}
