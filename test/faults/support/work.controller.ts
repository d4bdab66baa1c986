import { Controller, Get, Param, UseGuards } from '@nestjs/common';
import { RetryOnSerializationFailure } from 'nestjs-db-context';
import { defer, from, type Observable } from 'rxjs';

import { Scenario, ScenarioGuard, Work } from './scenario.js';
import { UnitOfWork } from './units-of-work.js';

/** Runs the handler of the scenario, as each kind of handler that Nest knows. */
@Controller()
@UseGuards(ScenarioGuard)
export class WorkController {
  constructor(
    private readonly unit: UnitOfWork,
    private readonly scenario: Scenario,
  ) {}

  @Get('promise/:key')
  promise(@Param('key') key: string): Promise<unknown> {
    return this.run(key);
  }

  @Get('observable/:key')
  observable(@Param('key') key: string): Observable<unknown> {
    return this.unit.intercept((session) => defer(() => this.handle(key, session)));
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

  private run(key: string): Promise<unknown> {
    return this.unit.run(key, (session) => this.handle(key, session));
  }

  private async handle(key: string, session: Work['session']): Promise<unknown> {
    return { value: await this.scenario.handler(new Work(key, session, this.scenario)) };
  }
}
