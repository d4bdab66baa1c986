import { EventEmitter, on } from 'node:events';

import { DbContext } from 'nestjs-db-context';

import { OrdersService } from '../orders/orders.service.js';
import type { Shop } from './shop.js';

/** An order that a queue has; `token` names the test that has put it there. */
export interface OrderJob {
  readonly customerId: number;
  readonly productId: number;
  readonly token: string;
}

/** Stands for a queue with its worker. */
export interface OrderJobs {
  /** Resolves when the job is done. */
  add(job: OrderJob): Promise<void>;
  close(): void;
}

/**
 * Starts the worker. Its loop begins in a hook, so that it is in the async context of no test: what a job
 * does belongs to a test only as far as `handle` says so.
 */
export function startOrderJobs(handle: (job: OrderJob) => Promise<unknown>): OrderJobs {
  const events = new EventEmitter();
  const closing = new AbortController();
  const jobs = on(events, 'job', { signal: closing.signal });
  const work = async (): Promise<void> => {
    for await (const [job, done] of jobs as AsyncIterable<[OrderJob, (result: unknown) => void]>) {
      // Not awaited: the next job may come from another test.
      done(handle(job));
    }
  };
  // It ends by the signal alone.
  work().catch(() => undefined);
  return {
    add: async (job) => {
      await new Promise((resolve) => events.emit('job', job, resolve));
    },
    close: () => closing.abort(),
  };
}

/** Places the order of a job, as the worker does in production: in a unit of work of its own. */
export function placeOrderOf({ app }: Shop, { customerId, productId }: OrderJob): Promise<unknown> {
  return app.get(DbContext).run(() => app.get(OrdersService).place(customerId, productId, 1));
}
