import { Controller, Post } from '@nestjs/common';

import { EarlyEndService } from './early-end.service.js';

@Controller()
export class EarlyEndController {
  constructor(private readonly earlyEnd: EarlyEndService) {}

  @Post('early-commit')
  commit(): Promise<void> {
    return this.earlyEnd.commitEarly();
  }

  @Post('early-rollback')
  rollBack(): Promise<void> {
    return this.earlyEnd.rollBackEarly();
  }

  @Post('end-by-hand')
  endByHand(): Promise<void> {
    return this.earlyEnd.endByHand();
  }

  @Post('early-close')
  close(): Promise<void> {
    return this.earlyEnd.closeEarly();
  }
}
