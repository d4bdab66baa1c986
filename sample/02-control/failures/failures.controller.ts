import {
  ConflictException,
  Controller,
  HttpCode,
  InternalServerErrorException,
  Post,
} from '@nestjs/common';

import { EntriesService } from '../entries/entries.service.js';

/** Four ways to fail. Each has sent its INSERT, and each rolls it back without any code for it. */
@Controller('failures')
export class FailuresController {
  constructor(private readonly entries: EntriesService) {}

  @Post('exception')
  async exception(): Promise<never> {
    await this.entries.add('undone by an exception');
    throw new Error('Something went wrong.');
  }

  @Post('server-error')
  async serverError(): Promise<never> {
    await this.entries.add('undone by a 500');
    throw new InternalServerErrorException();
  }

  @Post('client-error')
  async clientError(): Promise<never> {
    await this.entries.add('undone by a 409');
    throw new ConflictException();
  }

  // Nothing is thrown here: the status alone says that the request has failed.
  @HttpCode(422)
  @Post('status-only')
  async statusOnly(): Promise<{ reason: string }> {
    await this.entries.add('undone by a 422');
    return { reason: 'refused' };
  }
}
