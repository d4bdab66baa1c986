import { BadRequestException, Injectable, type PipeTransform } from '@nestjs/common';

import { isId } from './body.pipe.js';

/** Refuses a number that no row can have as its id; PostgreSQL would answer with an error. */
@Injectable()
export class IdPipe implements PipeTransform<number, number> {
  transform(id: number): number {
    if (!isId(id)) {
      throw new BadRequestException('Validation failed (an id is expected)');
    }
    return id;
  }
}
