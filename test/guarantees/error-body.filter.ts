import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { HttpAdapterHost } from '@nestjs/core';

/** Answers with the class of an error, as `{ error }`. */
@Catch()
export class ErrorBodyFilter implements ExceptionFilter {
  readonly #adapterHost: HttpAdapterHost;

  constructor(adapterHost: HttpAdapterHost) {
    this.#adapterHost = adapterHost;
  }

  catch(error: unknown, host: ArgumentsHost): void {
    const { cause } = (error ?? {}) as Error;
    // A 503 of Nest says no more than that; its cause does.
    const reported = error instanceof HttpException && cause instanceof Error ? cause : error;
    const name = reported instanceof Error ? reported.constructor.name : String(reported);
    const status = error instanceof HttpException ? error.getStatus() : 500;
    const response: unknown = host.switchToHttp().getResponse();
    if (!this.#adapterHost.httpAdapter.isHeadersSent(response)) {
      this.#adapterHost.httpAdapter.reply(response, { error: name }, status);
    }
  }
}
