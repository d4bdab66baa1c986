import { defineConfig } from '@mikro-orm/postgresql';
import { Module, type DynamicModule } from '@nestjs/common';
import { DbContextModule } from 'nestjs-db-context';

import { AtomicModesController } from './atomic-modes/atomic-modes.controller.js';
import { AtomicModesService } from './atomic-modes/atomic-modes.service.js';
import { AtomicController } from './atomic/atomic.controller.js';
import { AtomicService } from './atomic/atomic.service.js';
import { AuditController } from './audit/audit.controller.js';
import { AuditService } from './audit/audit.service.js';
import { ConcurrencyController } from './concurrency/concurrency.controller.js';
import { ConcurrencyService } from './concurrency/concurrency.service.js';
import { EarlyEndController } from './early-end/early-end.controller.js';
import { EarlyEndService } from './early-end/early-end.service.js';
import { SlowWorkService } from './early-end/slow-work.service.js';
import { EntriesController } from './entries/entries.controller.js';
import { EntriesService } from './entries/entries.service.js';
import { Entry } from './entries/entry.entity.js';
import { FailuresController } from './failures/failures.controller.js';
import { JobsController } from './jobs/jobs.controller.js';
import { NightlyJob } from './jobs/nightly.job.js';
import { OwnSessionController } from './own-session/own-session.controller.js';
import { OwnSessionService } from './own-session/own-session.service.js';
import { PlainSessionController } from './plain-session/plain-session.controller.js';
import { PlainSessionService } from './plain-session/plain-session.service.js';

export interface SampleOptions {
  readonly databaseUrl: string;
}

@Module({
  controllers: [
    AtomicController,
    AtomicModesController,
    AuditController,
    ConcurrencyController,
    EarlyEndController,
    EntriesController,
    FailuresController,
    JobsController,
    OwnSessionController,
    PlainSessionController,
  ],
  providers: [
    AtomicModesService,
    AtomicService,
    AuditService,
    ConcurrencyService,
    EarlyEndService,
    EntriesService,
    NightlyJob,
    OwnSessionService,
    PlainSessionService,
    SlowWorkService,
  ],
})
export class AppModule {
  static register({ databaseUrl }: SampleOptions): DynamicModule {
    return {
      module: AppModule,
      imports: [
        DbContextModule.forRoot({
          connections: [
            defineConfig({
              clientUrl: databaseUrl,
              entities: [Entry],
              // One request of /concurrent-queries takes six connections at the same time.
              pool: { min: 0, max: 20 },
            }),
          ],
        }),
      ],
    };
  }
}
