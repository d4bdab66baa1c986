import { Controller, Post } from '@nestjs/common';

import type { Entry } from '../entries/entry.entity.js';
import { PlainSessionService } from './plain-session.service.js';

@Controller('plain-session')
export class PlainSessionController {
  constructor(private readonly plainSession: PlainSessionService) {}

  // The commit comes before the 201, so the response has the id.
  @Post()
  save(): Entry {
    return this.plainSession.save();
  }
}
