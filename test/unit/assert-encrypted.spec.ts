import { InvalidOptionsError } from 'nestjs-db-context';

import { assertEncrypted } from '../../lib/connection/assert-encrypted.js';

const URL_WITH = (mode: string): string => `postgres://user@host:5432/app?sslmode=${mode}`;

describe('a URL that asks for TLS', () => {
  it.each(['require', 'verify-ca', 'verify-full', 'no-verify'])(
    'sslmode=%s is refused where nothing else asks for it',
    (mode) => {
      const check = (): void => assertEncrypted('default', { clientUrl: URL_WITH(mode) });
      expect(check).toThrow(InvalidOptionsError);
      expect(check).toThrow(`The clientUrl of connection "default" says sslmode=${mode}`);
    },
  );

  it.each([
    [URL_WITH('disable'), undefined],
    [URL_WITH('prefer'), undefined],
    [URL_WITH('require'), { ssl: true }],
    [URL_WITH('require'), { stream: () => undefined }],
    ['postgres://user@host/app', undefined],
    ['no url', undefined],
    [undefined, undefined],
  ])('%s with %o is not', (clientUrl, driverOptions) => {
    expect(() => assertEncrypted('default', { clientUrl, driverOptions })).not.toThrow();
  });
});
