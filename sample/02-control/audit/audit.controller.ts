import { Controller, Post, UnprocessableEntityException } from '@nestjs/common';

import { EntriesService } from '../entries/entries.service.js';
import { AuditService } from './audit.service.js';

@Controller('audited')
export class AuditController {
  constructor(
    private readonly audit: AuditService,
    private readonly entries: EntriesService,
  ) {}

  @Post()
  async refuse(): Promise<never> {
    await this.entries.add('rolled back with the request');
    await this.audit.record('somebody has tried');
    throw new UnprocessableEntityException('Refused, and the attempt is on record.');
  }
}
