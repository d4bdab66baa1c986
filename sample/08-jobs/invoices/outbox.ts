import { Inject, Injectable } from '@nestjs/common';
import type { OnApplicationBootstrap, OnApplicationShutdown } from '@nestjs/common';
import { DbContext } from 'nestjs-db-context';
import { PgBoss } from 'pg-boss';

import type { OrderJob } from '../jobs.js';
import { InvoicesService } from './invoices.service.js';

/** Jobs that are rows of the same database: each is as durable as the row that it is about. */
@Injectable()
export class Outbox implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(
    @Inject(PgBoss) private readonly boss: PgBoss,
    private readonly dbContext: DbContext,
    private readonly invoices: InvoicesService,
  ) {}

  /** Adds a job in the transaction of the session. */
  async send(queue: string, data: OrderJob): Promise<void> {
    await this.dbContext.withClient((client) =>
      this.boss.send(queue, data, {
        db: { executeSql: (text, values = []) => client.query(text, values) },
      }),
    );
  }

  async onApplicationBootstrap(): Promise<void> {
    await this.boss.start();
    await this.boss.createQueue('invoices');
    const options = { pollingIntervalSeconds: 0.5, batchSize: 1 };
    await this.boss.work<OrderJob>('invoices', options, async ([job]) => {
      await this.dbContext.run(() => this.invoices.write(job!.data), { name: 'the job invoices' });
    });
  }

  /** The worker ends while there is a database: contexts are refused after this hook. */
  async onApplicationShutdown(): Promise<void> {
    await this.boss.stop({ graceful: true, timeout: 5_000 });
  }
}
