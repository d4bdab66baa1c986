import { EntityManager } from '@mikro-orm/postgresql';
import { Injectable } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { Entry } from '../entries/entry.entity.js';

@Injectable()
export class PlainSessionService {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  /** The usual case: nothing to take over. The end of the request flushes and commits. */
  save(): Entry {
    const entry = new Entry('saved by the end of the request');
    this.session.persist(entry);
    return entry;
  }
}
