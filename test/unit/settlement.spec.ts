import { closeSessions } from '../../lib/context/settlement.js';
import type { Session } from '../../lib/session/session.js';

describe('the sessions of a context', () => {
  it('M2: are all closed when some cannot be, and the first reason is the one that is thrown', async () => {
    const attempted: string[] = [];
    const sessions = ['a', 'b', 'c'].map((name) => ({
      transaction: { shut: () => undefined },
      close: async () => {
        attempted.push(name);
        if (name !== 'c') {
          throw new RangeError(name);
        }
      },
    }));
    const closed = closeSessions(sessions as unknown as readonly Session[]);
    await expect(closed).rejects.toEqual(new RangeError('a'));
    expect(attempted).toEqual(['a', 'b', 'c']);
  });
});
