import { defineConfig } from '@mikro-orm/postgresql';
import { Module, type DynamicModule } from '@nestjs/common';
import { DbContextModule } from 'nestjs-db-context';

import { AuditEntry } from './audit-entry.entity.js';
import { AuditController } from './audit.controller.js';
import { AuditService } from './audit.service.js';

/** The audit trail and the database that it alone knows of. */
@Module({
  controllers: [AuditController],
  providers: [AuditService],
  exports: [AuditService],
})
export class AuditModule {
  static register(clientUrl: string): DynamicModule {
    return {
      module: AuditModule,
      // The URL is given once, in the AppModule; the other modules need not import this one.
      global: true,
      imports: [
        DbContextModule.forFeature({
          name: 'audit',
          ...defineConfig({ clientUrl, entities: [AuditEntry] }),
        }),
      ],
    };
  }
}
