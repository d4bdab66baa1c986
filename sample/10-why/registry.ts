import { setImmediate } from 'node:timers/promises';

import { Injectable } from '@nestjs/common';

/** Another service, whose answer is in a cache: it takes one turn of the event loop. */
@Injectable()
export class Registry {
  async nameOf(name: string): Promise<string> {
    await setImmediate();
    return name;
  }
}
