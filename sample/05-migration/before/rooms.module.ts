import { MikroOrmModule } from '@mikro-orm/nestjs';
import { Module } from '@nestjs/common';

import { AuditService } from './audit.service.js';
import { BookingsService } from './bookings.service.js';
import { RoomsController } from './rooms.controller.js';
import { AuditEntry, Booking, Room } from './rooms.entities.js';

@Module({
  imports: [MikroOrmModule.forFeature([Room, Booking, AuditEntry])],
  controllers: [RoomsController],
  providers: [BookingsService, AuditService],
})
export class RoomsModule {}
