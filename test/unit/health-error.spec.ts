import { healthErrorOf } from '../../lib/connection/health-error.js';

describe('what a health endpoint shows of an error', () => {
  it.each([
    ['an error', new Error('gone'), { message: 'gone' }],
    [
      'one with a code',
      Object.assign(new Error('no'), { code: 'EPIPE' }),
      { message: 'no', code: 'EPIPE' },
    ],
    [
      'one with a code that is no text',
      Object.assign(new Error('no'), { code: 7 }),
      { message: 'no' },
    ],
    ['something else', 'gone', { message: 'gone' }],
    ['nothing', undefined, { message: 'undefined' }],
  ])('%s', (_what, error, shown) => {
    expect(healthErrorOf(error)).toEqual(shown);
  });

  it('all refusals of a name with several addresses', () => {
    const refusals = new AggregateError([new Error('refused ::1'), new Error('refused 127.0.0.1')]);
    const error = Object.assign(refusals, { code: 'ECONNREFUSED' });
    expect(healthErrorOf(error)).toEqual({
      message: 'refused ::1, refused 127.0.0.1',
      code: 'ECONNREFUSED',
    });
  });

  it('no password, wherever it stands', () => {
    const error = new Error(
      's3cret of postgres://me:s3cret@db1/app, and s3cret, for postgres://u:p@x',
    );
    expect(healthErrorOf(error, 's3cret').message).toBe(
      '*** of postgres://***@db1/app, and ***, for postgres://***@x',
    );
    expect(healthErrorOf(new Error('as it was'), '').message).toBe('as it was');
  });
});
