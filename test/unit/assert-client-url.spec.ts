import { InvalidOptionsError } from 'nestjs-db-context';

import { assertClientUrl } from '../../lib/connection/assert-client-url.js';
import { droppedParametersOf } from '../../lib/connection/url-parameters.js';

describe('a clientUrl', () => {
  it.each([
    ['socket:/tmp?db=app', 'begins with socket:, a form that MikroORM does not read'],
    ['mysql://host/app', 'begins with mysql:, a form that MikroORM does not read'],
    ['postgres:///app?host=/tmp', 'has the parameter host, which MikroORM does not read'],
    ['postgres://host/app?port=5433', 'has the parameter port, which MikroORM does not read'],
    ['/tmp app', 'is no URL'],
    ['postgres://user:secret@/app?host=/tmp', 'is no URL'],
    ['user:secret@host', 'begins with user:, a form that MikroORM does not read'],
  ])('%s is refused', (clientUrl, says) => {
    const check = (): void => assertClientUrl('default', clientUrl);
    expect(check).toThrow(InvalidOptionsError);
    expect(check).toThrow(`The clientUrl of connection "default" ${says}. Write postgres://user`);
    expect(check).not.toThrow('secret');
  });

  it.each([
    'postgres://user:password@host:5432/app',
    'postgresql://host/app?schema=a&application_name=b&sslmode=disable',
    'postgres://user@%2Fvar%2Frun%2Fpostgresql/app',
    undefined,
  ])('%s is not', (clientUrl) => {
    expect(() => assertClientUrl('default', clientUrl)).not.toThrow();
  });
});

describe('the parameters of a clientUrl that MikroORM drops', () => {
  it.each([
    ['postgres://host/app', []],
    ['postgres://host/app?schema=a', []],
    [
      'postgres://host/app?schema=a&application_name=b&options=-c%20x%3D1',
      ['application_name', 'options'],
    ],
    ['postgres://host/app?connect_timeout=3&connect_timeout=4', ['connect_timeout']],
    ['postgres://host/app?sslmode=disable', []],
    [undefined, []],
    ['no url', []],
  ])('of %s', (clientUrl, dropped) => {
    expect(droppedParametersOf(clientUrl)).toEqual(dropped);
  });
});
