import { DriverException, UniqueConstraintViolationException } from '@mikro-orm/postgresql';
import { ConflictException } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { provideTestSession } from 'nestjs-db-context/testing';

import { CustomersService } from '../customers/customers.service.js';

/** A service alone, with a double for its session: no database, no module of the application. */
describe('sample 04-testing, a double for the session', () => {
  const persisted: unknown[] = [];

  async function serviceWith(session: object): Promise<CustomersService> {
    const testingModule = await Test.createTestingModule({
      providers: [CustomersService, provideTestSession(session)],
    }).compile();
    return testingModule.get(CustomersService);
  }

  const double = {
    count: async () => 0,
    persist: (entity: unknown) => persisted.push(entity),
    flush: async () => undefined,
  };

  beforeEach(() => {
    persisted.length = 0;
  });

  it('persists a customer that is new', async () => {
    const service = await serviceWith(double);
    const customer = await service.register('new@example.com');
    expect(persisted).toEqual([customer]);
  });

  it('refuses one that is there, and persists nothing', async () => {
    const service = await serviceWith({ ...double, count: async () => 1 });
    await expect(service.register('ada@example.com')).rejects.toBeInstanceOf(ConflictException);
    expect(persisted).toEqual([]);
  });

  it.each([
    {
      failure: new UniqueConstraintViolationException(new Error('23505')),
      becomes: ConflictException,
    },
    { failure: new DriverException(new Error('57P01')), becomes: DriverException },
  ])('a flush that fails with $failure.constructor.name', async ({ failure, becomes }) => {
    const service = await serviceWith({ ...double, flush: () => Promise.reject(failure) });
    await expect(service.register('new@example.com')).rejects.toBeInstanceOf(becomes);
  });
});
