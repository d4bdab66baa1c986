import { Controller, Post } from '@nestjs/common';

import { ConcurrencyService } from './concurrency.service.js';

@Controller('concurrent-queries')
export class ConcurrencyController {
  constructor(private readonly concurrency: ConcurrencyService) {}

  @Post()
  everyWay(): Promise<void> {
    return this.concurrency.everyWay();
  }

  @Post('decorated')
  decorated(): Promise<void> {
    return this.concurrency.decorated();
  }
}
