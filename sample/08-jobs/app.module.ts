import { defineConfig } from '@mikro-orm/postgresql';
import { BullModule } from '@nestjs/bullmq';
import { Module, type DynamicModule } from '@nestjs/common';
import { ScheduleModule } from '@nestjs/schedule';
import { DbContextModule } from 'nestjs-db-context';
import { DbContextBullModule } from 'nestjs-db-context/bullmq';
import { PgBoss } from 'pg-boss';

import { InvoicesService } from './invoices/invoices.service.js';
import { Outbox } from './invoices/outbox.js';
import { Journal } from './journal.js';
import { Order } from './orders/order.entity.js';
import { OrdersController } from './orders/orders.controller.js';
import { OrdersService } from './orders/orders.service.js';
import { Receipt } from './receipts/receipt.entity.js';
import { ReceiptsJob } from './receipts/receipts.job.js';

export interface SampleOptions {
  readonly databaseUrl: string;
  readonly redisPort: number;
  readonly print: (line: string) => void;
}

@Module({
  controllers: [OrdersController],
  providers: [InvoicesService, OrdersService, Outbox, ReceiptsJob],
})
export class AppModule {
  static register({ databaseUrl, redisPort, print }: SampleOptions): DynamicModule {
    return {
      module: AppModule,
      imports: [
        DbContextModule.forRoot({
          connections: [defineConfig({ clientUrl: databaseUrl, entities: [Order, Receipt] })],
        }),
        BullModule.forRoot({ connection: { host: '127.0.0.1', port: redisPort } }),
        // In place of BullModule.registerQueue().
        DbContextBullModule.registerQueue({
          name: 'receipts',
          defaultJobOptions: { attempts: 2 },
        }),
        ScheduleModule.forRoot(),
      ],
      providers: [
        { provide: Journal, useValue: new Journal(print) },
        {
          provide: PgBoss,
          useFactory: () => new PgBoss({ connectionString: databaseUrl, max: 2 }),
        },
      ],
    };
  }
}
