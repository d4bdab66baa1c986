import { InvalidOptionsError } from 'nestjs-db-context';

import { formatServer, parseServerAddress } from '../../lib/connection/server-address.js';

const parse = (text: string) => parseServerAddress(text, 'default');

describe('the host of a connection', () => {
  it.each([
    ['db2', { host: 'db2' }],
    [' DB2.example.org ', { host: 'db2.example.org' }],
    ['db2:5433', { host: 'db2', port: 5433 }],
    ['10.0.0.1:5433', { host: '10.0.0.1', port: 5433 }],
    ['[::1]:5433', { host: '::1', port: 5433 }],
    ['[FE80::1]', { host: 'fe80::1' }],
    ['/var/run/PG', { host: '/var/run/PG' }],
    ['/var/run/PG:5433', { host: '/var/run/PG', port: 5433 }],
    ['/var/My Run/PG:5433', { host: '/var/My Run/PG', port: 5433 }],
    ['postgres://db2', { host: 'db2' }],
    ['postgresql://db2/', { host: 'db2' }],
    ['postgres://db2:5433/app', { host: 'db2', port: 5433, database: 'app' }],
    ['postgres://[::1]:5433/app', { host: '::1', port: 5433, database: 'app' }],
    ['postgres://me@db2', { host: 'db2', user: 'me' }],
    [
      'postgres://m%40e:p%3Aw%2F@db2:5433/my%20app',
      { host: 'db2', port: 5433, user: 'm@e', password: 'p:w/', database: 'my app' },
    ],
  ])('H1: %j is read', (text, address) => {
    expect(parse(text)).toEqual(address);
  });

  it.each([
    '',
    '   ',
    ':5432',
    'db2:',
    'db2:0',
    'db2:65536',
    'db2:port',
    'db 2',
    '::1',
    '[]',
    '[::1',
    'db2/app',
    'me@db2',
    'https://db2',
    'postgres://',
    'postgres:///app',
    'postgres://db2:0/app',
    'postgres://db2/app?sslmode=require',
    'postgres://db2/%',
    undefined as never,
    5432 as never,
  ])('H1: %j is refused', (text) => {
    expect(() => parse(text)).toThrow(InvalidOptionsError);
    expect(() => parse(text)).toThrow(/connection "default" was given the host .* Give a host/);
  });

  it('H1: no password stands in the message', () => {
    expect(() => parse('postgres://me:secret@db2/app?x=y')).toThrow('"postgres://***@db2/app?x=y"');
    expect(() => parse('postgres://me:secret@db2/app?x=y')).not.toThrow('secret');
  });

  it.each(['db2:5433', '[::1]:5432', '/var/run/pg:5432', '/My Run/PG:5432'])(
    'H1: %j is written as read',
    (text) => {
      expect(formatServer(parse(text))).toBe(text);
    },
  );
});
