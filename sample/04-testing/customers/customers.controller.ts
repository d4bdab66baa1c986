import { Body, Controller, Post } from '@nestjs/common';

import type { Customer } from './customer.entity.js';
import { CustomersService } from './customers.service.js';

@Controller('customers')
export class CustomersController {
  constructor(private readonly customers: CustomersService) {}

  @Post()
  register(@Body('email') email: string): Promise<Customer> {
    return this.customers.register(email);
  }
}
