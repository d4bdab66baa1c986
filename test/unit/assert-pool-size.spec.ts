/** A pool has the size that its options say, or the application does not boot. */
import { InvalidOptionsError } from 'nestjs-db-context';

import { assertPoolSize } from '../../lib/connection/assert-pool-size.js';

describe('a pool is refused', () => {
  it.each([
    [{ pool: { max: 0 } }, 'pool: { max: 0 }. Give a whole number of at least 1'],
    [{ pool: { max: -1 } }, 'pool: { max: -1 }. Give a whole number of at least 1'],
    [{ pool: { max: Number.NaN } }, 'pool: { max: NaN }. Give a whole number of at least 1'],
    [{ pool: { max: 2.5 } }, 'pool: { max: 2.5 }.'],
    [{ pool: { max: Infinity } }, 'pool: { max: Infinity }.'],
    [{ pool: { max: '5' } }, "pool: { max: '5' }."],
    [{ pool: { max: null } }, 'pool: { max: null }.'],
    [{ pool: { min: -1 } }, 'pool: { min: -1 }. Give a whole number of at least 0'],
    [{ pool: { min: Number.NaN, max: 5 } }, 'pool: { min: NaN }.'],
    [{ pool: { idleTimeoutMillis: -1 } }, 'pool: { idleTimeoutMillis: -1 }.'],
    [{ pool: { idleTimeoutMillis: Infinity } }, 'pool: { idleTimeoutMillis: Infinity }.'],
    [{ driverOptions: { max: 0 } }, 'driverOptions: { max: 0 }.'],
    [{ pool: { max: 5 }, driverOptions: { max: 0 } }, 'driverOptions: { max: 0 }.'],
    [{ pool: { min: 6, max: 5 } }, 'a pool of at least 6 and at most 5 connections'],
    [{ pool: { min: 11 } }, 'a pool of at least 11 and at most 10 connections'],
    [
      { pool: { min: 3 }, driverOptions: { max: 2 } },
      'a pool of at least 3 and at most 2 connections',
    ],
  ])('%o', (options, says) => {
    const check = (): void => assertPoolSize('reports', options);
    expect(check).toThrow(InvalidOptionsError);
    expect(check).toThrow(`The connection "reports" has ${says}`);
  });
});

describe('a pool is let through', () => {
  it.each([
    {},
    { pool: undefined, driverOptions: undefined },
    { pool: { min: 0, max: 1, idleTimeoutMillis: 0 } },
    { pool: { min: 5, max: 5 } },
    { pool: { max: undefined } },
    { pool: { min: 6, max: 5 }, driverOptions: { max: 6 } },
    { driverOptions: () => undefined },
  ])('%o', (options) => {
    expect(() => assertPoolSize('reports', options)).not.toThrow();
  });
});
