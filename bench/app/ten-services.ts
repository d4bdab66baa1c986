import type { EntityManager } from '@mikro-orm/core';
import { Inject, Injectable, type Provider, type Type } from '@nestjs/common';

import { Account } from './account.entity.js';
import { Unit } from './unit.js';

/** A service that asks the next one. */
export interface Step {
  find(handed: EntityManager, id: number): Promise<Account>;
}

const DEPTH = 10;

/** The first of ten services, each a provider of its own which is injected into the one before. */
export const FIRST_STEP = Symbol('bench:first-step');

@Injectable()
class LastStep implements Step {
  constructor(private readonly unit: Unit) {}

  find(handed: EntityManager, id: number): Promise<Account> {
    return this.unit.manager(handed).findOneOrFail(Account, id);
  }
}

function stepBefore(next: Type<Step>): Type<Step> {
  @Injectable()
  class MiddleStep implements Step {
    constructor(
      private readonly unit: Unit,
      @Inject(next) private readonly nextStep: Step,
    ) {}

    async find(handed: EntityManager, id: number): Promise<Account> {
      // Each uses the manager, as a service does; this needs no statement.
      const { id: same } = this.unit.manager(handed).getReference(Account, id);
      return this.nextStep.find(handed, same);
    }
  }
  return MiddleStep;
}

/** The ten services, with the first under {@link FIRST_STEP}. */
export function tenServices(): Provider[] {
  const steps: Type<Step>[] = [LastStep];
  while (steps.length < DEPTH) {
    steps.push(stepBefore(steps.at(-1)!));
  }
  const first: Provider = {
    provide: FIRST_STEP,
    useFactory: (step: Step) => step,
    inject: [steps.at(-1)!],
  };
  return [...steps, first];
}
