import { Controller, Post } from '@nestjs/common';

import { OwnSessionService } from './own-session.service.js';

@Controller('own-session')
export class OwnSessionController {
  constructor(private readonly ownSession: OwnSessionService) {}

  @Post()
  manual(): Promise<void> {
    return this.ownSession.manual();
  }

  @Post('atomic')
  atomic(): Promise<never> {
    return this.ownSession.atomic();
  }
}
