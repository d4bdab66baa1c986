import { WritePositions } from '../../lib/connection/write-positions.js';
import { isReached, UNREACHABLE_LSN } from '../../lib/postgresql/lsn.js';
import { parsePosition, positionText } from '../../lib/transport/position-text.js';
import { cookieOf } from '../../lib/transport/response-headers.js';

const NOW_MS = 1_700_000_000_500;

describe('positions of writes', () => {
  it.each([0n, 0x16b3748n, UNREACHABLE_LSN])('%s is read as it was written', (position) => {
    expect(parsePosition(positionText(position, NOW_MS), 60, NOW_MS)).toBe(position);
  });

  it.each([
    undefined,
    ['1.1700000000', '2.1700000000'],
    '',
    '1',
    '.1700000000',
    '1.',
    '1.1700000000 ',
    ' 1.1700000000',
    'G.1700000000',
    '0x1.1700000000',
    '1.17e8',
    '1.1699999939',
    '1.1700000061',
    "1.1700000000'",
    '11111111111111111.1700000000',
    '1.1700000000\n',
  ])('%p of a client is none', (text) => {
    expect(parsePosition(text, 60, NOW_MS)).toBeUndefined();
  });

  it('is reached by what was replayed up to it, or up to the page that it begins', () => {
    expect(isReached(100n, 99n)).toBe(false);
    expect(isReached(100n, 100n)).toBe(true);
    // The end of the log is told with the header of the page, of 24 or 40 bytes.
    expect(isReached(8_192n + 24n, 8_192n)).toBe(true);
    expect(isReached(8_192n + 40n, 8_192n)).toBe(true);
    expect(isReached(8_192n + 41n, 8_192n)).toBe(false);
    expect(isReached(8_192n + 25n, 8_200n)).toBe(false);
  });

  it('the furthest of a connection counts, and commits are told with it', () => {
    const told: unknown[] = [];
    const positions = new WritePositions();
    positions.listen((...what) => told.push(what));
    positions.expect('default', 5n);
    expect(told).toEqual([]);
    positions.wrote('default', 3n);
    positions.wrote('other', 1n);
    positions.wrote('default', 7n);
    expect(told).toEqual([
      ['default', 5n],
      ['other', 1n],
      ['default', 7n],
    ]);
    expect([positions.of('default'), positions.of('none')]).toEqual([7n, undefined]);
  });

  it.each([
    ['a=1; position=2', '2'],
    ['position=2;a=1', '2'],
    ['position=2; position=3', '2'],
    ['aposition=2', undefined],
    ['position', undefined],
    [undefined, undefined],
    [['position=2'], undefined],
  ])('the cookie is found in %p', (header, value) => {
    expect(cookieOf(header, 'position')).toBe(value);
  });
});
