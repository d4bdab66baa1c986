import { Module, type DynamicModule } from '@nestjs/common';
import { DbContextModule } from 'nestjs-db-context';

import { AuditService } from './audit/audit.service.js';
import { auditOptions, shopOptions } from './connections.js';
import { CustomersController } from './customers/customers.controller.js';
import { CustomersService } from './customers/customers.service.js';
import { Mailer } from './orders/mailer.js';
import { OrdersController } from './orders/orders.controller.js';
import { OrdersService } from './orders/orders.service.js';
import { PaymentGateway } from './payments/payment.gateway.js';
import { PaymentsController } from './payments/payments.controller.js';
import { PaymentsService } from './payments/payments.service.js';
import { StockService } from './products/stock.service.js';

export interface DatabaseUrls {
  readonly shopUrl: string;
  readonly auditUrl: string;
}

@Module({
  controllers: [CustomersController, OrdersController, PaymentsController],
  providers: [
    AuditService,
    CustomersService,
    Mailer,
    OrdersService,
    PaymentGateway,
    PaymentsService,
    StockService,
  ],
})
export class AppModule {
  static register({ shopUrl, auditUrl }: DatabaseUrls): DynamicModule {
    return {
      module: AppModule,
      imports: [
        DbContextModule.forRoot({
          connections: [shopOptions(shopUrl), { name: 'audit', ...auditOptions(auditUrl) }],
        }),
      ],
    };
  }
}
