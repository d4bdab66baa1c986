import { Injectable, ParseIntPipe, type ArgumentMetadata } from '@nestjs/common';

import { isId } from './body.pipe.js';

/** Nest's ParseIntPipe, within the range of an id: PostgreSQL refuses larger numbers with an error. */
@Injectable()
export class IdPipe extends ParseIntPipe {
  override async transform(value: string, metadata: ArgumentMetadata): Promise<number> {
    const id = await super.transform(value, metadata);
    if (!isId(id)) {
      throw this.exceptionFactory('Validation failed (an id is expected)');
    }
    return id;
  }
}
