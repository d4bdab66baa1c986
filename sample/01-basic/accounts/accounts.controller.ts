import { Controller, Get, Param, ParseIntPipe } from '@nestjs/common';

import { IdPipe } from '../input/id.pipe.js';
import type { Account } from './account.entity.js';
import { AccountsService } from './accounts.service.js';

@Controller('accounts')
export class AccountsController {
  constructor(private readonly accounts: AccountsService) {}

  @Get()
  list(): Promise<Account[]> {
    return this.accounts.list();
  }

  @Get(':id')
  get(@Param('id', ParseIntPipe, IdPipe) id: number): Promise<Account> {
    return this.accounts.get(id);
  }
}
