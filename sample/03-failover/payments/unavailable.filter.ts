import { DriverException } from '@mikro-orm/core';
import { Catch, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { Response } from 'express';
import { CommitOutcomeUnknownError } from 'nestjs-db-context';

/** Tells clients whether to come again: with 503 nothing is saved, with 500 that is to be found out. */
@Catch(DriverException)
export class UnavailableFilter implements ExceptionFilter {
  catch(error: DriverException, host: ArgumentsHost): void {
    const isUnknown = error instanceof CommitOutcomeUnknownError;
    host
      .switchToHttp()
      .getResponse<Response>()
      .status(isUnknown ? 500 : 503)
      .json({ error: error.code ?? error.message });
  }
}
