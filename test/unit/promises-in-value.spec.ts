import { handlePromisesIn } from '../../lib/transport/promises-in-value.js';
import { UnhandledRejections } from '../support/unhandled-rejections.js';

describe('promises in a value', () => {
  const unhandled = new UnhandledRejections();

  beforeAll(() => unhandled.start());
  afterAll(() => unhandled.stop());

  it('W1: are handled wherever they are in it, and stay what they are', async () => {
    const failed = Promise.reject(new Error('failed'));
    const circle: Record<string, unknown> = { failed };
    circle['circle'] = circle;
    handlePromisesIn([
      new Set([{ circle }]),
      Promise.resolve({ later: Promise.reject(new Error('later')) }),
    ]);
    await new Promise(setImmediate);
    expect(unhandled.reasons).toEqual([]);
    await expect(failed).rejects.toMatchObject({ message: 'failed' });
  });

  it('W1: are looked for without a call of what is in it', () => {
    const calls: string[] = [];
    const refusing = new Proxy(
      {},
      {
        ownKeys: () => {
          calls.push('keys of a proxy');
          throw new Error('refused');
        },
      },
    );
    // oxlint-disable-next-line unicorn/no-thenable -- a query builder is one
    const lazy = { then: () => calls.push('then') };
    const withGetter = {
      get secret() {
        calls.push('getter');
        return 1;
      },
    };
    handlePromisesIn({ refusing, list: [lazy, withGetter], lazy });
    expect(calls).toEqual(['keys of a proxy']);
  });
});
