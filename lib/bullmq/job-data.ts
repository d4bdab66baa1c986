import { Job } from 'bullmq';

/**
 * A job that is not sent. BullMQ checks a job as it sends it: version 6 has a method of its own for what it
 * would send (`toFlowEntry()`), version 5 has only the two that it is made of.
 */
class DraftJob extends Job {
  /** @throws what BullMQ throws for options and data that it refuses */
  dataToSend(): string {
    const json = this.asJSON();
    this.validateOptions(json);
    return json.data;
  }
}

/**
 * The data of a job as BullMQ would send it now.
 *
 * @returns JSON
 * @throws what BullMQ throws for a name, options and data that it refuses
 */
export function jobDataOf(...job: ConstructorParameters<typeof Job>): string {
  return new DraftJob(...job).dataToSend();
}
