import { Body, Controller, Post } from '@nestjs/common';
import { CommitOn } from 'nestjs-db-context';

import { BodyPipe, isId, isText } from '../input/body.pipe.js';
import { AccountsService } from './accounts.service.js';

interface LogInBody {
  readonly accountId: number;
  readonly pin: string;
}

@Controller('sessions')
export class SessionsController {
  constructor(private readonly accounts: AccountsService) {}

  // By default whatever throws is rolled back. Here the 401 must keep its trace: the counter in one
  // database and the audit entry in the other are committed, and the client still gets its 401.
  @CommitOn(({ failed, status }) => !failed || status === 401)
  @Post()
  async logIn(
    @Body(new BodyPipe<LogInBody>({ accountId: isId, pin: isText })) body: LogInBody,
  ): Promise<{ accountKey: string }> {
    const account = await this.accounts.logIn(body.accountId, body.pin);
    return { accountKey: account.key };
  }
}
