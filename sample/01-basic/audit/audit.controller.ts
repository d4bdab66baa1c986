import { Controller, Get } from '@nestjs/common';

import type { AuditEntry } from './audit-entry.entity.js';
import { AuditService } from './audit.service.js';

@Controller('audit')
export class AuditController {
  constructor(private readonly audit: AuditService) {}

  @Get()
  latest(): Promise<AuditEntry[]> {
    return this.audit.latest();
  }
}
