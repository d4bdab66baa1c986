import { readFile } from 'node:fs/promises';

import type { MikroORM } from '@mikro-orm/core';
import { PostgreSqlDriver } from '@mikro-orm/postgresql';
import { InvalidOptionsError } from 'nestjs-db-context';

import {
  assertInitialised,
  assertSupported,
  assertSupportedVersion,
  OLDEST_MIKRO_ORM,
} from '../../lib/connection/supported-orm.js';

describe('the MikroORM that a connection is over', () => {
  it('is of the versions that package.json demands', async () => {
    const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8');
    const { peerDependencies } = JSON.parse(text) as { peerDependencies: Record<string, string> };
    expect(peerDependencies).toMatchObject({
      '@mikro-orm/core': `^${OLDEST_MIKRO_ORM}`,
      '@mikro-orm/postgresql': `^${OLDEST_MIKRO_ORM}`,
    });
  });

  it.each(['7.2.1', '7.2.10', '7.3.0', '7.10.0', '7.3.0-dev.12', '[[MIKRO_ORM_VERSION]]'])(
    'may be %s',
    (version) => {
      expect(() => assertSupportedVersion('audit', version)).not.toThrow();
    },
  );

  it.each(['6.6.16', '6.6.16-dev.3', '7.0.0', '7.2.0', '8.0.0', '10.0.0'])(
    'may not be %s, however it was installed',
    (version) => {
      expect(() => assertSupportedVersion('audit', version)).toThrow(
        new InvalidOptionsError(
          `The connection "audit" is over MikroORM ${version}; 7.2.1 or a later version of 7 is needed, ` +
            'for all packages of MikroORM alike: npm install @mikro-orm/core@^7.2.1 ' +
            '@mikro-orm/postgresql@^7.2.1. If npm was told to ignore what it says of peers ' +
            '(--force, --legacy-peer-deps), do without that.',
        ),
      );
    },
  );

  // What of MikroORM 6 has to do with it: its connections have getKnex() in place of these methods.
  it('is refused where it was handed over by a second copy, of another version', () => {
    const orm = {
      driver: {
        getDependencies: () => ['pg'],
        getConnection: () => ({ getKnex: () => ({}), execute: () => Promise.resolve([]) }),
      },
      config: { get: () => undefined },
    } as unknown as MikroORM;
    expect(() => assertSupported('audit', orm)).toThrow(
      new InvalidOptionsError(
        'The connection "audit" was given an orm of another version of MikroORM than the one that ' +
          'nestjs-db-context loads, whose connections have no getClient() and no getNativeClient(). 7.2.1 ' +
          'or a later version of 7 is needed, and one copy of it: look at npm ls @mikro-orm/core.',
      ),
    );
  });

  it('is refused where it cannot be made of a driver of another copy, and why', async () => {
    const driver = { name: 'DriverOfMikroOrm6', prototype: {} };
    const cause = new TypeError('platform.usesEnumCheckConstraints is not a function');
    const made = Promise.reject<MikroORM>(cause);
    await expect(assertInitialised('audit', driver as never, made)).rejects.toMatchObject({
      constructor: InvalidOptionsError,
      message: expect.stringMatching(
        /^The connection "audit" has a driver \(DriverOfMikroOrm6\) of another copy .* 7\.2\.1 or a later/,
      ),
      cause,
    });
  });

  it('fails with its own error where its driver is of the same copy', async () => {
    const cause = new RangeError('no such entity');
    await expect(assertInitialised('audit', PostgreSqlDriver, Promise.reject(cause))).rejects.toBe(
      cause,
    );
  });
});
