import { defineConfig } from '@mikro-orm/postgresql';
import { Module, type DynamicModule } from '@nestjs/common';
import { DbContextModule } from 'nestjs-db-context';

import { AuditEntry, Booking, Room } from '../before/rooms.entities.js';
import { AuditService } from './audit.service.js';
import { BookingsService } from './bookings.service.js';
import { RoomsController } from './rooms.controller.js';

/** The same application without `@mikro-orm/nestjs`, and without what a session makes needless. */
@Module({
  controllers: [RoomsController],
  providers: [BookingsService, AuditService],
})
export class TidiedModule {
  static register(clientUrl: string): DynamicModule {
    return {
      module: TidiedModule,
      imports: [
        DbContextModule.forRoot({ connections: [defineConfig({ clientUrl })] }),
        DbContextModule.forFeature([Room, Booking, AuditEntry]),
      ],
    };
  }
}
