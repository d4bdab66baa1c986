import { setTimeout as sleep } from 'node:timers/promises';

import { Injectable } from '@nestjs/common';

/** Stands for a call to another system, or for a long computation: it needs no database. */
@Injectable()
export class SlowWorkService {
  async run(): Promise<void> {
    await sleep(250);
  }
}
