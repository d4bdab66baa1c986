import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { HttpAdapterHost } from '@nestjs/core';

/** The body of the response to a request that failed. */
export interface ErrorBody {
  /** The class of the error that the exception filter saw. */
  readonly error: string;
  readonly code: string | undefined;
  readonly message: string;
  readonly cause: string | undefined;
  /** The class of the error that the library threw, also where Nest made a 503 of it. */
  readonly origin: string;
}

/** Answers with the class of an error, as an exception filter of the application sees it. */
@Catch()
export class ErrorBodyFilter implements ExceptionFilter {
  readonly #adapterHost: HttpAdapterHost;

  constructor(adapterHost: HttpAdapterHost) {
    this.#adapterHost = adapterHost;
  }

  catch(error: unknown, host: ArgumentsHost): void {
    const { httpAdapter } = this.#adapterHost;
    const response: unknown = host.switchToHttp().getResponse();
    if (!httpAdapter.isHeadersSent(response)) {
      const status = error instanceof HttpException ? error.getStatus() : 500;
      httpAdapter.reply(response, errorBody(error), status);
    }
  }
}

function errorBody(error: unknown): ErrorBody {
  const { code, message, cause } = (error ?? {}) as Error & { code?: string };
  return {
    error: className(error),
    code,
    message,
    cause: cause instanceof Error ? `${className(cause)}: ${cause.message}` : undefined,
    origin: className(error instanceof HttpException && cause instanceof Error ? cause : error),
  };
}

function className(error: unknown): string {
  return error instanceof Error ? error.constructor.name : String(error);
}
