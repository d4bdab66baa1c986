import { setTimeout as sleep } from 'node:timers/promises';

import type { EntityManager } from '@mikro-orm/core';
import { Controller, Get, Inject, Post } from '@nestjs/common';

import { Account } from './account.entity.js';
import { answer, nextId, READS, type Answer } from './answer.js';
import { FIRST_STEP, type Step } from './ten-services.js';
import { Unit } from './unit.js';

/** How long another service takes to answer, in milliseconds. */
const ELSEWHERE_MS = 50;

function find(em: EntityManager, id: number): Promise<Account> {
  return em.findOneOrFail(Account, id);
}

/** One route for each workload, the same for all candidates on MikroORM. */
@Controller()
export class AccountsController {
  constructor(
    private readonly unit: Unit,
    @Inject(FIRST_STEP) private readonly steps: Step,
  ) {}

  @Get('nothing')
  nothing(): Answer {
    return { id: nextId(), balance: 0 };
  }

  @Get('one-read')
  oneRead(): Promise<Answer> {
    return this.unit.read(async (em) => answer(await find(em, nextId())));
  }

  @Get('five-reads')
  fiveReads(): Promise<Answer> {
    return this.unit.read(async (em) => {
      let last = await find(em, nextId());
      for (let read = 1; read < READS; read++) {
        last = await find(em, nextId());
      }
      return answer(last);
    });
  }

  @Post('one-insert')
  oneInsert(): Promise<Answer> {
    return this.unit.write(async (em) => {
      em.persist(new Account('somebody new'));
      return Promise.resolve({ id: 0, balance: 0 });
    });
  }

  @Post('read-modify-write')
  readModifyWrite(): Promise<Answer> {
    return this.unit.write(async (em) => {
      const account = await find(em, nextId());
      account.balance += 1;
      return answer(account);
    });
  }

  @Get('ten-services')
  tenServices(): Promise<Answer> {
    return this.unit.read(async (em) => answer(await this.steps.find(em, nextId())));
  }

  @Get('wait-holding')
  waitHolding(): Promise<Answer> {
    return this.unit.read(async (em) => {
      const account = await find(em, nextId());
      await sleep(ELSEWHERE_MS);
      return answer(account);
    });
  }

  @Get('wait-released')
  async waitReleased(): Promise<Answer> {
    const found = await this.unit.read(async (em) => answer(await find(em, nextId())));
    await this.unit.release();
    await sleep(ELSEWHERE_MS);
    return found;
  }
}
