import {
  Controller,
  ForbiddenException,
  Get,
  Param,
  ParseIntPipe,
  UseGuards,
} from '@nestjs/common';

import { Account } from '../accounts/account.entity.js';
import { AccountsService } from '../accounts/accounts.service.js';
import { ApiKeyGuard, CurrentAccount } from '../accounts/api-key.guard.js';
import { IdPipe } from '../input/id.pipe.js';
import type { Transfer } from './transfer.entity.js';
import { TransfersService } from './transfers.service.js';

@Controller('accounts/:id/statement')
@UseGuards(ApiKeyGuard)
export class StatementController {
  constructor(
    private readonly accounts: AccountsService,
    private readonly transfers: TransfersService,
  ) {}

  @Get()
  async statement(
    @CurrentAccount() reader: Account,
    @Param('id', ParseIntPipe, IdPipe) id: number,
  ): Promise<{ account: Account; transfers: Transfer[] }> {
    if (reader.id !== id) {
      throw new ForbiddenException('This is the key of another account.');
    }
    return {
      // Sends nothing: the guard has loaded this account into the session that both share.
      account: await this.accounts.get(id),
      transfers: await this.transfers.ofAccount(id),
    };
  }
}
