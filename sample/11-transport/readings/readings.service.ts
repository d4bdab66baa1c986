import { EntityManager } from '@mikro-orm/postgresql';
import { Injectable } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { Reading } from './reading.entity.js';

/** Knows nothing of the transport: the same class serves a controller or a job. */
@Injectable()
export class ReadingsService {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async add(sensor: string, value: number): Promise<Reading> {
    if (Number.isNaN(value)) {
      throw new TypeError('the value is no number');
    }
    const reading = this.session.create(Reading, { sensor, value });
    await this.session.persist(reading).flush();
    return reading;
  }
}
