import { BadRequestException, Body, Controller, Post, UseGuards } from '@nestjs/common';

import { Account } from '../accounts/account.entity.js';
import { ApiKeyGuard, CurrentAccount } from '../accounts/api-key.guard.js';
import { BodyPipe, isAmount, isId } from '../input/body.pipe.js';
import type { Transfer } from './transfer.entity.js';
import { TransfersService } from './transfers.service.js';

interface TransferBody {
  readonly to: number;
  readonly amountCents: number;
}

@Controller('transfers')
@UseGuards(ApiKeyGuard)
export class TransfersController {
  constructor(private readonly transfers: TransfersService) {}

  // Both databases are flushed and committed after this has returned and before the 201 is sent.
  // The entity gets its id on the way, so the response has it.
  @Post()
  send(
    @CurrentAccount() sender: Account,
    @Body(new BodyPipe<TransferBody>({ to: isId, amountCents: isAmount })) body: TransferBody,
  ): Promise<Transfer> {
    if (body.to === sender.id) {
      throw new BadRequestException('An account cannot send money to itself.');
    }
    return this.transfers.send(sender.id, body.to, body.amountCents);
  }
}
