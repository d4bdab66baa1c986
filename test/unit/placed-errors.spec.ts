/** Errors of the driver say where they have happened, and stay what a caller of `pg` catches. */
import { ConnectionClosedError, ConnectionFailedError } from 'nestjs-db-context';

import { driverErrorAt, sharedErrorAt } from '../../lib/connection/placed-errors.js';

const PLACE = { connectionName: 'reports', origin: 'OrdersController.list' };
const SAYS = '(connection "reports" in the context of OrdersController.list)';

describe('an error of the driver', () => {
  it('is named in a copy: one object may be the error of several', () => {
    const shared = Object.freeze(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }));
    const [one, other] = ['One.ask', 'Other.ask'].map((origin) =>
      driverErrorAt({ connectionName: 'reports', origin }, shared),
    );
    expect(one).toMatchObject({
      constructor: Error,
      code: 'ECONNREFUSED',
      message: 'refused (connection "reports" in the context of One.ask)',
    });
    expect(other).toMatchObject({
      message: 'refused (connection "reports" in the context of Other.ask)',
    });
    expect(shared.message).toBe('refused');
  });

  it('keeps its cause, and is as writable as before, since MikroORM adds hints to the message', () => {
    const cause = new Error('reset');
    const placed = driverErrorAt(PLACE, new Error('timed out', { cause })) as Error;
    expect(placed.cause).toBe(cause);
    placed.message += ' - hint';
    expect(placed.message).toBe(`timed out ${SAYS} - hint`);
    expect(Object.keys(placed)).toEqual([]);
  });

  it('of a host with several addresses has the messages of all', () => {
    const refusals = [new Error('refused ::1'), new Error('refused 127.0.0.1')];
    const placed = driverErrorAt(PLACE, new AggregateError(refusals)) as AggregateError;
    expect(placed).toMatchObject({
      constructor: AggregateError,
      message: `refused ::1; refused 127.0.0.1 ${SAYS}`,
      errors: refusals,
    });
    expect(placed.stack).toMatch(
      new RegExp(`^AggregateError: refused ::1; .*OrdersController\\.list\\)\n +at `),
    );
  });

  it('whose stack is no text has its message as the stack', () => {
    const error = Object.defineProperty(new Error('refused'), 'stack', { value: ['a frame'] });
    expect((driverErrorAt(PLACE, error) as Error).stack).toBe(`Error: refused ${SAYS}`);
  });

  class VaultError extends Error {}

  it.each([
    ['an error of a class of the application', new VaultError('sealed')],
    ['what only looks like an error', { name: 'Error', message: 'refused', severity: 'FATAL' }],
    ['a text', 'refused'],
    ['nothing', undefined],
  ])('%s stays that one', (_what, thrown) => {
    expect(driverErrorAt(PLACE, thrown)).toBe(thrown);
  });
});

describe('an error that several wait for', () => {
  it('is one of each, with what it says beside the place', () => {
    const cause = new Error('refused');
    const failed = sharedErrorAt(PLACE, new ConnectionFailedError('reports', cause));
    expect(failed).toMatchObject({ constructor: ConnectionFailedError, ...PLACE, cause });
    const closed = sharedErrorAt(PLACE, new ConnectionClosedError('reports', 7));
    expect(closed).toMatchObject({
      constructor: ConnectionClosedError,
      ...PLACE,
      cutOffAfterMs: 7,
    });
  });

  it('of the application stays that one', () => {
    const error = new Error('of a hook');
    expect(sharedErrorAt(PLACE, error)).toBe(error);
  });
});
