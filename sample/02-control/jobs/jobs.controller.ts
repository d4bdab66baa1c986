import { Controller, Post } from '@nestjs/common';
import { SkipDbContext } from 'nestjs-db-context';

import { NightlyJob } from './nightly.job.js';

// A scheduler would call the job outside any request. So that these routes do the same, they open
// no context: with one, the job would join it.
@SkipDbContext()
@Controller('jobs')
export class JobsController {
  constructor(private readonly job: NightlyJob) {}

  @Post('decorated')
  decorated(): Promise<void> {
    return this.job.decorated();
  }

  @Post('called')
  called(): Promise<never> {
    return this.job.called();
  }

  @Post('failing')
  failing(): Promise<never> {
    return this.job.failing();
  }
}
