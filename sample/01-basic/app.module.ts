import { defineConfig } from '@mikro-orm/postgresql';
import { Module, type DynamicModule } from '@nestjs/common';
import { DbContextModule } from 'nestjs-db-context';
import { DbContextInspectorModule } from 'nestjs-db-context/inspector';

import { AccountsModule } from './accounts/accounts.module.js';
import { AuditModule } from './audit/audit.module.js';
import { HealthController } from './health/health.controller.js';
import { TransfersModule } from './transfers/transfers.module.js';

export interface DatabaseUrls {
  readonly databaseUrl: string;
  readonly auditUrl: string;
}

@Module({ controllers: [HealthController] })
export class AppModule {
  static register({ databaseUrl, auditUrl }: DatabaseUrls): DynamicModule {
    return {
      module: AppModule,
      imports: [
        DbContextModule.forRoot({
          // The ApiKeyGuard reads the session, and guards run before interceptors.
          mount: 'middleware',
          // The entities come from the feature modules.
          connections: [defineConfig({ clientUrl: databaseUrl })],
        }),
        // A page at /__db that shows what each request sends to which database.
        ...(process.env['NODE_ENV'] === 'production' ? [] : [DbContextInspectorModule.forRoot()]),
        AuditModule.register(auditUrl),
        AccountsModule,
        TransfersModule,
      ],
    };
  }
}
