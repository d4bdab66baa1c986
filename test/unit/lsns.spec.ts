import { WrittenLsns } from '../../lib/connection/written-lsns.js';
import { isReached, UNREACHABLE_LSN } from '../../lib/postgresql/lsn.js';
import { lsnText, parseLsnText } from '../../lib/transport/lsn-text.js';
import { cookieOf } from '../../lib/transport/response-headers.js';

const NOW_MS = 1_700_000_000_500;

describe('LSNs of writes', () => {
  it.each([0n, 0x16b3748n, UNREACHABLE_LSN])('%s is read as it was written', (lsn) => {
    expect(parseLsnText(lsnText(lsn, NOW_MS), 60, NOW_MS)).toBe(lsn);
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
  ])('%p of a client is no LSN', (text) => {
    expect(parseLsnText(text, 60, NOW_MS)).toBeUndefined();
  });

  it('is reached by what was replayed up to it, or up to the page that it begins', () => {
    expect(isReached(100n, 99n)).toBe(false);
    expect(isReached(100n, 100n)).toBe(true);
    // The end of the log includes the header of the page, which has 24 or 40 bytes.
    expect(isReached(8_192n + 24n, 8_192n)).toBe(true);
    expect(isReached(8_192n + 40n, 8_192n)).toBe(true);
    expect(isReached(8_192n + 41n, 8_192n)).toBe(false);
    expect(isReached(8_192n + 25n, 8_200n)).toBe(false);
  });

  it('the LSN of a commit takes the place of what the client brought, and the listener gets it', () => {
    const heard: unknown[] = [];
    const lsns = new WrittenLsns();
    lsns.listen((...what) => heard.push(what));
    lsns.expect('default', 5n);
    expect(heard).toEqual([]);
    lsns.committing('default')(3n);
    lsns.committing('other')(1n);
    lsns.committing('default')(7n);
    expect(heard).toEqual([
      ['default', 3n],
      ['other', 1n],
      ['default', 7n],
    ]);
    expect([lsns.of('default'), lsns.of('none')]).toEqual([7n, undefined]);
  });

  it('F4: an LSN that is known takes the place of one that is not, once a commit began after the loss', () => {
    const heard: unknown[] = [];
    const lsns = new WrittenLsns();
    lsns.listen((_, lsn) => heard.push(lsn));
    lsns.expect('default', UNREACHABLE_LSN);
    const meanwhile = lsns.committing('default');
    lsns.committing('default')(UNREACHABLE_LSN);
    // It may have been asked for before the lost commit was made, whose LSN is then the higher one.
    meanwhile(5n);
    const [one, other] = [lsns.committing('default'), lsns.committing('default')];
    one(7n);
    other(6n);
    expect(heard).toEqual([UNREACHABLE_LSN, UNREACHABLE_LSN, 7n, 7n]);
  });

  it.each([
    ['a=1; lsn=2', '2'],
    ['lsn=2;a=1', '2'],
    ['lsn=2; lsn=3', '2'],
    ['alsn=2', undefined],
    ['lsn', undefined],
    [undefined, undefined],
    [['lsn=2'], undefined],
  ])('the cookie is found in %p', (header, value) => {
    expect(cookieOf(header, 'lsn')).toBe(value);
  });
});
