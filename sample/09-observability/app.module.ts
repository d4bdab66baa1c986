import { defineConfig } from '@mikro-orm/postgresql';
import { Module, type DynamicModule } from '@nestjs/common';
import { DbContextModule } from 'nestjs-db-context';

import { MetricsController } from './metrics.controller.js';
import { Order } from './orders/order.entity.js';
import { OrdersController } from './orders/orders.controller.js';

export interface SampleOptions {
  readonly databaseUrl: string;
}

@Module({ controllers: [MetricsController, OrdersController] })
export class AppModule {
  static register({ databaseUrl }: SampleOptions): DynamicModule {
    return {
      module: AppModule,
      imports: [
        DbContextModule.forRoot({
          connections: [defineConfig({ clientUrl: databaseUrl, entities: [Order] })],
        }),
      ],
    };
  }
}
