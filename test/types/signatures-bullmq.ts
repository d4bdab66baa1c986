// What `nestjs-db-context/bullmq` accepts; nothing here runs.
import type { Job, Queue } from 'bullmq';
import { expectTypeOf } from 'expect-type';
import {
  DbContextBullModule,
  type CommittedQueue,
  type JobReceipt,
} from 'nestjs-db-context/bullmq';

interface Mail {
  readonly to: string;
}
type MailQueue = CommittedQueue<Mail, number, 'welcome' | 'goodbye'>;

export async function receipts(queue: MailQueue): Promise<void> {
  const receipt = await queue.add('welcome', { to: 'a' }, { attempts: 3 });
  expectTypeOf(receipt).toEqualTypeOf<JobReceipt<Mail, number, 'welcome' | 'goodbye'>>();
  if (receipt.state === 'sent') {
    expectTypeOf(receipt.job).toEqualTypeOf<Job<Mail, number, 'welcome' | 'goodbye'>>();
    expectTypeOf(receipt.id).toEqualTypeOf<string>();
  } else {
    expectTypeOf(receipt.id).toEqualTypeOf<string | undefined>();
    // @ts-expect-error -- before the commit there is no job
    void receipt.job;
  }
  expectTypeOf(queue.queue).toEqualTypeOf<Queue<Mail, number, 'welcome' | 'goodbye'>>();
  await queue.addBulk([{ name: 'goodbye', data: { to: 'b' }, opts: { delay: 1_000 } }]);

  // @ts-expect-error -- an unknown name
  void queue.add('hello', { to: 'a' });
  // @ts-expect-error -- not the data of this queue
  void queue.add('welcome', { from: 'a' });
  // @ts-expect-error -- the unit is in the name
  DbContextBullModule.registerQueue({ name: 'mail', sendTimeout: 1_000 });
}
