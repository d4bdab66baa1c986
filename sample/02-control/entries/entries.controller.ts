import { Controller, Get } from '@nestjs/common';

import { EntriesService } from './entries.service.js';
import type { Entry } from './entry.entity.js';

@Controller('entries')
export class EntriesController {
  constructor(private readonly entries: EntriesService) {}

  @Get()
  latest(): Promise<Entry[]> {
    return this.entries.latest();
  }
}
