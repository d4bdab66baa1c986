import { Controller, Get, Post } from '@nestjs/common';

import { answer, nextId, READS, type Answer } from '../answer.js';
import { Stack } from './stack.js';

/** The routes of `AccountsController` on another ORM, with the same answers. */
@Controller()
export class StackController {
  constructor(private readonly stack: Stack) {}

  @Get('nothing')
  nothing(): Answer {
    return { id: nextId(), balance: 0 };
  }

  @Get('one-read')
  oneRead(): Promise<Answer> {
    return this.stack.inTransaction(async (accounts) => answer(await accounts.find(nextId())));
  }

  @Get('five-reads')
  fiveReads(): Promise<Answer> {
    return this.stack.inTransaction(async (accounts) => {
      let last = await accounts.find(nextId());
      for (let read = 1; read < READS; read++) {
        last = await accounts.find(nextId());
      }
      return answer(last);
    });
  }

  @Post('one-insert')
  oneInsert(): Promise<Answer> {
    return this.stack.inTransaction(async (accounts) => {
      await accounts.insert('somebody new');
      return { id: 0, balance: 0 };
    });
  }

  @Post('read-modify-write')
  readModifyWrite(): Promise<Answer> {
    return this.stack.inTransaction(async (accounts) =>
      answer(await accounts.increment(await accounts.find(nextId()))),
    );
  }
}
