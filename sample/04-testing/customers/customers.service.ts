import { EntityManager, UniqueConstraintViolationException } from '@mikro-orm/postgresql';
import { ConflictException, Injectable } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { Customer } from './customer.entity.js';

@Injectable()
export class CustomersService {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async register(email: string): Promise<Customer> {
    if ((await this.session.count(Customer, { email })) > 0) {
      throw taken(email);
    }
    const customer = new Customer(email);
    this.session.persist(customer);
    try {
      // Here rather than at the end of the request: between the look and the INSERT somebody else
      // may have come, and the answer to that is the same.
      await this.session.flush();
    } catch (error) {
      throw error instanceof UniqueConstraintViolationException ? taken(email) : error;
    }
    return customer;
  }
}

function taken(email: string): ConflictException {
  return new ConflictException(`${email} is registered already.`);
}
