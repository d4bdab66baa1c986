import { Controller, Post } from '@nestjs/common';

import { AtomicService } from './atomic.service.js';

@Controller('atomic')
export class AtomicController {
  constructor(private readonly atomic: AtomicService) {}

  @Post()
  blockThenRequest(): Promise<void> {
    return this.atomic.blockThenRequest();
  }

  @Post('in-a-row')
  inARow(): Promise<void> {
    return this.atomic.inARow();
  }

  @Post('decorated')
  decorated(): Promise<never> {
    return this.atomic.decorated();
  }
}
