import { Injectable } from '@nestjs/common';
import { NewDbContext } from 'nestjs-db-context';

import { EntriesService } from '../entries/entries.service.js';

@Injectable()
export class AuditService {
  constructor(private readonly entries: EntriesService) {}

  /** Has been committed when it returns, whatever becomes of the request. */
  @NewDbContext()
  async record(text: string): Promise<void> {
    await this.entries.add(`audit: ${text}`);
  }
}
