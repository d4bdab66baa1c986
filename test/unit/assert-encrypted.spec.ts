import { InvalidOptionsError } from 'nestjs-db-context';

import { assertEncrypted } from '../../lib/connection/assert-encrypted.js';

const withParameter = (parameter: string): string =>
  `postgres://user:secret@host:5432/app?schema=a&${parameter}`;

describe('a URL that asks for TLS', () => {
  it.each([
    'sslmode=require',
    'sslmode=verify-ca',
    'sslmode=verify-full',
    'sslmode=no-verify',
    'sslmode=prefer',
    'sslmode=allow',
    'SSLMODE=verify-full',
    'ssl=true',
    'ssl=1',
    'sslrootcert=/etc/ca.crt',
    'sslcert=/etc/client.crt',
    'sslnegotiation=direct',
    'channel_binding=require',
    'gssencmode=require',
    'requiressl=1',
  ])('%s is refused where nothing else asks for it', (parameter) => {
    const check = (): void =>
      assertEncrypted('default', { clientUrl: withParameter(parameter), driverOptions: {} });
    expect(check).toThrow(InvalidOptionsError);
    expect(check).toThrow(`The clientUrl of connection "default" says ${parameter}, which`);
    expect(check).not.toThrow('secret');
  });

  it.each([{ ssl: undefined }, { connectionString: undefined }])(
    'is refused also with driverOptions %o, which say nothing',
    (driverOptions) => {
      const check = (): void =>
        assertEncrypted('default', { clientUrl: withParameter('sslmode=require'), driverOptions });
      expect(check).toThrow('would be in clear');
    },
  );

  it.each([
    [withParameter('sslmode=disable'), undefined],
    [withParameter('ssl=false&sslnegotiation=postgres'), undefined],
    [withParameter('sslmode='), undefined],
    [withParameter('application_name=ssl'), undefined],
    [withParameter('sslmode=require'), { ssl: true }],
    [withParameter('sslmode=require'), { ssl: false }],
    [withParameter('sslmode=require'), { stream: () => undefined }],
    [withParameter('sslmode=require'), { connectionString: 'postgres://host/app' }],
    ['postgres://user@host/app', undefined],
    ['no url', undefined],
    [undefined, undefined],
  ])('%s with %o is not', (clientUrl, driverOptions) => {
    expect(() => assertEncrypted('default', { clientUrl, driverOptions })).not.toThrow();
  });
});

describe('options of pg that ask for TLS', () => {
  it.each([
    { sslmode: 'require' },
    { sslrootcert: '/etc/ca.crt' },
    { sslmode: 'require', ssl: undefined },
  ])('%o is refused: pg reads it in a connection string alone', (driverOptions) => {
    const check = (): void => assertEncrypted('default', { driverOptions });
    const [key, value] = Object.entries(driverOptions)[0]!;
    expect(check).toThrow(InvalidOptionsError);
    expect(check).toThrow(
      `The driverOptions of connection "default" says ${key}=${String(value)}, which`,
    );
  });

  it.each([
    { ssl: true },
    { sslmode: 'require', ssl: { ca: 'pem' } },
    { ssl: true, sslnegotiation: 'direct' },
    { sslmode: 'disable' },
  ])('%o is not', (driverOptions) => {
    expect(() => assertEncrypted('default', { driverOptions })).not.toThrow();
  });
});
