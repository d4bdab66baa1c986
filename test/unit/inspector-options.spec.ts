import { EventEmitter } from 'node:events';

import { Logger, type CanActivate } from '@nestjs/common';
import { InvalidOptionsError } from 'nestjs-db-context';
import { DbContextInspectorModule } from 'nestjs-db-context/inspector';

import { announceAt } from '../../lib/inspector/boot-line.js';
import { LogRecorder } from '../support/log-recorder.js';

class OpenSesame implements CanActivate {
  canActivate(): boolean {
    return true;
  }
}

describe('the options of the inspector', () => {
  const { NODE_ENV } = process.env;
  afterEach(() => {
    process.env['NODE_ENV'] = NODE_ENV;
  });

  const refusal = (options: object): unknown => {
    try {
      DbContextInspectorModule.forRoot(options);
      return undefined;
    } catch (error) {
      return error;
    }
  };

  it.each([
    [{ path: '/a b' }, /was given path: '\/a b'/],
    [{ path: '/x/../y' }, /was given path: '\/x\/\.\.\/y'/],
    [{ maxRequests: 0 }, /was given maxRequests: 0/],
    [{ hosts: ['a.example:3000'] }, /was given hosts with 'a\.example:3000'/],
    [{ hosts: 'a.example' }, /was given hosts: 'a\.example'/],
    [{ showValues: 'false' }, /was given showValues: 'false'/],
    [{ allowInProduction: 'false' }, /was given allowInProduction: 'false'/],
    [{ guard: {} }, /was given guard: \{\}\. Give the class of a guard, or an object with/],
    [{ guard: null }, /was given guard: null/],
    [{ guard: 'admin' }, /was given guard: 'admin'/],
    [{ guard: { canActivate: true } }, /was given guard: \{ canActivate: true \}/],
    [{ guard: () => true }, /was given guard: \[Function: guard\]/],
    [{ showValue: true }, /forRoot\(\) has showValue: true/],
  ])('are checked: %j', (options, message) => {
    expect(refusal(options)).toMatchObject({
      constructor: InvalidOptionsError,
      message: expect.stringMatching(message),
    });
  });

  it.each([OpenSesame, new OpenSesame(), { canActivate: () => true }])(
    'have a guard that is a class, or an object that guards: %p',
    (guard) => {
      expect(refusal({ guard })).toBeUndefined();
    },
  );

  it('are checked again at boot, since NODE_ENV may come from a file that is read later', () => {
    const { providers } = DbContextInspectorModule.forRoot();
    const [settings] = providers as unknown as [{ useFactory: () => unknown }];
    process.env['NODE_ENV'] = 'production';
    expect(() => settings.useFactory()).toThrow(
      expect.objectContaining({
        constructor: InvalidOptionsError,
        message: expect.stringMatching(/NODE_ENV=production/),
      }),
    );
  });

  it('let it boot in production by name, and with a guard', async () => {
    process.env['NODE_ENV'] = 'production';
    expect(refusal({})).toMatchObject({
      constructor: InvalidOptionsError,
      message: expect.stringMatching(/NODE_ENV=production.*allowInProduction: true and a guard/s),
    });
    expect(refusal({ allowInProduction: true })).toMatchObject({
      constructor: InvalidOptionsError,
      message: expect.stringMatching(/without a guard/),
    });
    expect(refusal({ allowInProduction: true, guard: OpenSesame })).toBeUndefined();
    const { providers } = DbContextInspectorModule.forRootAsync({ useFactory: () => ({}) });
    const [settings] = providers as unknown as [{ useFactory: () => Promise<unknown> }];
    await expect(settings.useFactory()).rejects.toMatchObject({
      constructor: InvalidOptionsError,
      message: expect.stringMatching(/NODE_ENV=production/),
    });
  });
});

describe('the log of an application with the inspector', () => {
  it.each([
    [{ address: '127.0.0.1', port: 3000 }, true, 'http://127.0.0.1:3000/api/__db.'],
    [
      { address: '::', port: 80 },
      false,
      'http://localhost:80/api/__db, without a guard of its own: everybody who reaches this port can read it.',
    ],
  ])('says where the page is: %j', (address, hasGuard, said) => {
    const log = new LogRecorder();
    Logger.overrideLogger(log);
    try {
      const server = Object.assign(new EventEmitter(), { address: () => address });
      announceAt(server, () => '/api/__db', { hasGuard });
      expect(log.lines).toEqual([]);
      server.emit('listening');
      expect(log.lines).toEqual([
        {
          level: hasGuard ? 'log' : 'warn',
          context: 'DbContextInspectorModule',
          message: `The inspector is at ${said}`,
        },
      ]);
    } finally {
      Logger.overrideLogger(false);
    }
  });
});
