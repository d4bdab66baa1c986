import { SerialQueue } from '../../lib/transaction/serial-queue.js';
import { deferred } from '../support/deferred.js';

describe('the queue of a connection', () => {
  it('F3: runs one statement at a time, in the order of the calls, also after a failure', async () => {
    const queue = new SerialQueue();
    const gates = [deferred(), deferred(), deferred()];
    const events: string[] = [];
    const results = gates.map((gate, index) =>
      queue.run(async () => {
        events.push(`start ${index}`);
        await gate.promise;
        events.push(`end ${index}`);
        if (index === 1) {
          throw new Error('the second');
        }
        return index;
      }),
    );
    expect(queue.unfinished).toBe(3);
    gates.toReversed().forEach((gate) => gate.resolve());
    expect((await Promise.allSettled(results)).map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'fulfilled',
    ]);
    expect(events).toEqual(['start 0', 'end 0', 'start 1', 'end 1', 'start 2', 'end 2']);
    expect(queue.unfinished).toBe(0);
  });

  it('F3: a turn that is free is had at once, and one that is taken when it is left', async () => {
    const queue = new SerialQueue();
    expect(queue.enter()).toBeUndefined();
    const turn = queue.enter();
    expect(turn).toBeInstanceOf(Promise);
    queue.leave();
    await turn;
    expect(queue.unfinished).toBe(1);
    queue.leave();
    expect(queue.unfinished).toBe(0);
  });
});
