import { SetMetadata, type CustomDecorator } from '@nestjs/common';

import type { CommitPolicy } from '../db-context.options.js';

/** Metadata key of {@link SkipDbContext}. */
export const SKIP_METADATA = 'nestjs-db-context:skip';
/** Metadata key of {@link CommitOn}. */
export const COMMIT_ON_METADATA = 'nestjs-db-context:commit-on';

/**
 * Opens no context for a route, or for all routes of a controller.
 *
 * @publicApi
 */
export function SkipDbContext(): CustomDecorator {
  return SetMetadata(SKIP_METADATA, true);
}

/**
 * Decides what commits on one route, or on all routes of a controller, in place of the
 * application's `commitOn`.
 *
 * @example
 * ```ts
 * // a failed log-in must leave its trace
 * @CommitOn(({ failed, status }) => !failed || status === 401)
 * @Post('login')
 * login() {}
 * ```
 * @publicApi
 */
export function CommitOn(policy: CommitPolicy): CustomDecorator {
  return SetMetadata(COMMIT_ON_METADATA, policy);
}
