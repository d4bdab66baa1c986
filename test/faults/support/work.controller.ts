import type { EntityManager } from '@mikro-orm/postgresql';
import {
  Catch,
  Controller,
  Get,
  HttpException,
  Param,
  UseGuards,
  type ArgumentsHost,
  type ExceptionFilter,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { DbContext, InjectSession, RetryOnSerializationFailure } from 'nestjs-db-context';
import { defer, from, type Observable } from 'rxjs';

import { Scenario, ScenarioGuard, Work } from './scenario.js';

/** Runs the handler of the scenario, as each kind of handler that Nest knows. */
@Controller()
@UseGuards(ScenarioGuard)
export class WorkController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
    private readonly scenario: Scenario,
  ) {}

  @Get('promise/:key')
  promise(@Param('key') key: string): Promise<unknown> {
    return this.run(key);
  }

  @Get('observable/:key')
  observable(@Param('key') key: string): Observable<unknown> {
    return defer(() => this.run(key));
  }

  /** An Observable over work that has begun already. */
  @Get('eager/:key')
  eager(@Param('key') key: string): Observable<unknown> {
    const running = this.run(key);
    let isHeard = false;
    running.catch(() => {
      if (!isHeard) {
        this.scenario.unheard.push(key);
      }
    });
    return defer(() => {
      isHeard = true;
      return from(running);
    });
  }

  @RetryOnSerializationFailure({ attempts: 5, backoffMs: 5 })
  @Get('retried/:key')
  retried(@Param('key') key: string): Promise<unknown> {
    // What an attempt that was undone had written is not promised by the next.
    this.scenario.written.delete(key);
    return this.run(key);
  }

  private async run(key: string): Promise<unknown> {
    const work = new Work(key, this.session, this.dbContext, this.scenario);
    return { value: await this.scenario.handler(work) };
  }
}

/** The body of the response to a request that failed. */
export interface ErrorBody {
  readonly error: string;
  readonly code: string | undefined;
  readonly message: string;
  readonly cause: string | undefined;
}

/** Answers with the class of an error, as an exception filter of the application sees it. */
@Catch()
export class ErrorBodyFilter implements ExceptionFilter {
  constructor(private readonly adapterHost: HttpAdapterHost) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const { name, code, message, cause } = (error ?? {}) as Error & { code?: string };
    const body: ErrorBody = {
      error: error instanceof Error ? error.constructor.name : name,
      code,
      message,
      cause: cause instanceof Error ? `${cause.constructor.name}: ${cause.message}` : undefined,
    };
    const status = error instanceof HttpException ? error.getStatus() : 500;
    this.adapterHost.httpAdapter.reply(host.switchToHttp().getResponse(), body, status);
  }
}
