import { Controller, Param, ParseEnumPipe, Post } from '@nestjs/common';
import type { CurrentTransaction } from 'nestjs-db-context';

import { AtomicModesService } from './atomic-modes.service.js';

const modePipe = new ParseEnumPipe({
  commit: 'commit',
  rollback: 'rollback',
  append: 'append',
  raise: 'raise',
  savepoint: 'savepoint',
} satisfies { [Mode in CurrentTransaction]: Mode });

@Controller('atomic-modes/:current')
export class AtomicModesController {
  constructor(private readonly modes: AtomicModesService) {}

  @Post('without-previous')
  withoutPrevious(@Param('current', modePipe) current: CurrentTransaction): Promise<void> {
    return this.modes.withoutPrevious(current);
  }

  @Post('after-previous')
  afterPrevious(@Param('current', modePipe) current: CurrentTransaction): Promise<void> {
    return this.modes.afterPrevious(current);
  }

  @Post('failing-without-previous')
  failingWithoutPrevious(@Param('current', modePipe) current: CurrentTransaction): Promise<void> {
    return this.modes.failingWithoutPrevious(current);
  }

  @Post('failing-after-previous')
  failingAfterPrevious(@Param('current', modePipe) current: CurrentTransaction): Promise<void> {
    return this.modes.failingAfterPrevious(current);
  }
}
