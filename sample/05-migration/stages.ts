import type { DynamicModule } from '@nestjs/common';

import { AfterModule } from './after/after.module.js';
import { BeforeModule } from './before/before.module.js';
import { TidiedModule } from './tidied/tidied.module.js';

/** The same application, as it was, taken over, and tidied up. */
export const STAGES = {
  before: (databaseUrl: string): DynamicModule => BeforeModule.register(databaseUrl),
  after: (databaseUrl: string): DynamicModule => AfterModule.register(databaseUrl),
  tidied: (databaseUrl: string): DynamicModule => TidiedModule.register(databaseUrl),
};

export type Stage = keyof typeof STAGES;

/** @throws Error for a stage that there is none of */
export function stageFrom(text: string | undefined): Stage {
  const stage = text ?? 'after';
  if (!Object.hasOwn(STAGES, stage)) {
    throw new Error(`STAGE is "${stage}". Give one of ${Object.keys(STAGES).join(', ')}.`);
  }
  return stage as Stage;
}
