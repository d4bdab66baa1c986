import { defineConfig } from '@mikro-orm/postgresql';
import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { DbContextModule } from 'nestjs-db-context';

import { Payment } from './payments/payment.entity.js';
import { PaymentsController } from './payments/payments.controller.js';
import { PaymentsService } from './payments/payments.service.js';
import { UnavailableFilter } from './payments/unavailable.filter.js';

export interface Servers {
  /** Where it goes first; user, password and database hold for all hosts. */
  readonly databaseUrl: string;
  /** Every server that may be the primary. */
  readonly hosts: readonly string[];
}

@Module({
  controllers: [PaymentsController],
  providers: [PaymentsService, { provide: APP_FILTER, useClass: UnavailableFilter }],
})
export class AppModule {
  static register({ databaseUrl, hosts }: Servers): DynamicModule {
    return {
      module: AppModule,
      imports: [
        DbContextModule.forRoot({
          connections: [
            {
              ...defineConfig({ clientUrl: databaseUrl, entities: [Payment] }),
              failover: { hosts },
            },
          ],
        }),
      ],
    };
  }
}
